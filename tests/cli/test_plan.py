import pytest

import gdjax.cli


def run(*arguments):
    return gdjax.cli.main(["plan", "--data", "moons", *map(str, arguments)])


def test_this_machines_devices_are_planned_for(capsys):
    assert run("--hidden", 64, "--shard-optimizer-state", "--regime", 16) == 0
    shown = capsys.readouterr().out
    assert "moons, 600 rows; adam on a network with hidden layers of 64." in shown
    assert "8 cpu devices; mini_batch(16), 38 steps an epoch" in shown
    for line in ("parameters", "state", "data", "temporaries", "total", "operations", "memory traffic", "all-reduce"):
        assert line in shown
    assert "it fits" in shown


def test_rows_that_nobody_has_are_planned_for(capsys):
    assert run("--examples", 10**10 // 8, "--shards", 8, "--regime", 800) == 0
    shown = capsys.readouterr().out
    assert "1,250,000,000 rows" in shown
    assert "mini_batch(800, shards=8), 1,562,500 steps an epoch" in shown
    assert "1.7 GiB" in shown  # an eighth of 12 bytes a row


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shards", 3), "`shards` must divide the batch's 64 rows, got 3."),
        (("--shards", 2), "`shards` must be a multiple of the 8 devices that hold rows, got 2."),
        (("--regime", "16,32"), "`regime` must be one regime, got '16,32'."),
        (("--optimizer", "sgd"), "`optimizer` must be one of"),
        (("--examples", 0), "`examples` must be at least 1, got 0."),
    ],
)
def test_what_is_wrong_is_said(capsys, arguments, words):
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
