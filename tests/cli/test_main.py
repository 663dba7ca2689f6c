import sys

import pytest

import gdjax
from gdjax.__main__ import main


def test_the_version_is_told_without_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gdjax", "--version"])
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main() == 0
    assert capsys.readouterr().out == f"gdjax {gdjax.__version__}\n"


def test_a_package_that_is_missing_is_said(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("gdjax.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main() == 2
    said = capsys.readouterr().err
    assert said == "gdjax: the command line needs tyro, got none: pip install 'gdjax[demo]'.\n"


def test_a_fault_of_our_own_is_not_taken_for_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gdjax.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"gdjax\.cli"):
        main()
