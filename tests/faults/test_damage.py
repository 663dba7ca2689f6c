"""Every file of a checkpoint spoilt in every way: it is noticed, said, and the checkpoint before is taken.

In the long form every byte of every small file is flipped: pytest tests/faults -m "long or not long"
"""

import contextlib
import random
import shutil

import pytest
from faults.worker import LARGE, SMALL, differing, every_step, run, steps_in, told

import gdjax
from gdjax.engine.checkpoint import opened

EPOCHS, LAST = 2, 8
FEW, SOME = 10_000, 2_000
"""Bytes of a file each of which is flipped; those that are flipped in others."""


@pytest.fixture(scope="module", params=[SMALL, LARGE], ids=["small", "large"])
def trained(request):
    return lambda folder=None: run(EPOCHS, every_step(folder), width=request.param)


@pytest.fixture(scope="module")
def whole(trained):
    return told(trained())


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "run"
    trained(folder)
    assert steps_in(folder)[-3:] == [LAST - 2, LAST - 1, LAST]
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


@pytest.fixture
def store(copied):
    with contextlib.closing(opened(gdjax.checkpoint(copied))) as store:
        yield store


def files(folder, step=LAST):
    """All of a checkpoint, its seal first."""
    found = sorted(path for path in (folder / f"step-{step}").rglob("*") if path.is_file())
    assert len(found) > 6
    return [folder / f"step-{step}.json", *found]


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :]


def unnoticed(store, path, contents):
    """Of the contents of a file those that pass for the right one."""
    whole, passed = path.read_bytes(), []
    for content in contents:
        path.write_bytes(content)
        found, faults = store.newest()
        if found.step != LAST - 1 or list(faults) != [LAST]:
            passed.append(content)
    path.write_bytes(whole)
    assert store.newest()[0].step == LAST
    return passed


def test_a_flipped_byte_is_noticed(copied, store):
    for path in files(copied):
        content = path.read_bytes()
        places = {0, 1, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1}
        assert not unnoticed(store, path, [flipped(content, place) for place in places])


@pytest.mark.long
def test_every_flipped_byte_is_noticed(copied, store):
    bytes_flipped = 0
    for path in files(copied):
        content = path.read_bytes()
        every = range(len(content))
        places = every if len(content) <= FEW else random.Random(0).sample(every, SOME)
        assert not unnoticed(store, path, (flipped(content, place) for place in places))
        bytes_flipped += len(places)
    print(f"{len(files(copied))} files, {bytes_flipped} bytes flipped")


def test_a_file_that_is_cut_short_or_grown_is_noticed(copied, store):
    for path in files(copied):
        content = path.read_bytes()
        assert not unnoticed(store, path, [b"", content[: len(content) // 2], content[:-1], content + b"\0"])


def test_a_file_that_is_missing_is_noticed(copied, store):
    for path in files(copied):
        content = path.read_bytes()
        path.unlink()
        found, faults = store.newest()
        assert (found.step, list(faults)) == (LAST - 1, [LAST])
        assert path.parent == copied or f"{path.relative_to(copied / f'step-{LAST}')} is missing" in faults[LAST]
        path.write_bytes(content)


def test_without_its_seal_a_checkpoint_was_never_finished(trained, copied, whole):
    (copied / f"step-{LAST}.json").unlink()
    result = trained(copied)
    assert not differing(told(result), whole)
    assert result.history.notes == ("resumed at epoch 1, step 3",)


def check_taken_up(trained, folder, whole, *, damaged):
    """A run goes on from the checkpoint before those that are damaged, once it has said so, and ends as ever."""
    before = LAST - len(damaged)
    with pytest.warns(UserWarning, match=rf"^checkpoint \d is damaged .* epoch 1, step {before % 4}\.$") as warned:
        result = trained(folder)
    assert len(warned) == len(damaged)
    assert not differing(told(result), whole)
    *notes, last = result.history.notes
    assert [note.split(" (")[0] for note in notes] == [f"checkpoint {step} is damaged" for step in damaged]
    assert last == f"resumed at epoch 1, step {before % 4}"
    aside = {path.name for path in folder.iterdir() if path.name.startswith("damaged")}
    assert aside >= {f"damaged-step-{step}.json" for step in damaged}
    assert steps_in(folder)[-1] == LAST
    assert trained(folder).history.notes == (*notes, last, f"resumed at epoch {EPOCHS}, step 0")


SPOILT = {
    "flipped": lambda path: path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2)),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("each", [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("how", SPOILT)
def test_a_run_goes_on_from_the_checkpoint_before(trained, saved, whole, tmp_path, how, each):
    for place, path in enumerate(files(saved)[how == "missing" :: each]):
        folder = shutil.copytree(saved, tmp_path / str(place))
        SPOILT[how](folder / path.relative_to(saved))
        check_taken_up(trained, folder, whole, damaged=[LAST])
        assert (folder / f"damaged-step-{LAST}").is_dir()


def test_two_are_damaged(trained, copied, whole):
    SPOILT["flipped"](files(copied, LAST)[-1])
    shutil.rmtree(copied / f"step-{LAST - 1}")
    check_taken_up(trained, copied, whole, damaged=[LAST, LAST - 1])


def test_the_same_one_is_damaged_again(trained, copied, whole):
    SPOILT["halved"](files(copied)[0])
    check_taken_up(trained, copied, whole, damaged=[LAST])
    SPOILT["flipped"](files(copied)[-1])
    with pytest.warns(UserWarning, match=f"checkpoint {LAST} is damaged"):
        assert not differing(told(trained(copied)), whole)


@pytest.mark.parametrize("how", SPOILT)
def test_where_all_are_damaged_one_sentence_says_so(trained, copied, how):
    for step in steps_in(copied):
        SPOILT[how](files(copied, step)[-1])
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"^`checkpoint` must hold one that is whole, got none in '{copied}'") as said:
        trained(copied)
    assert "\n" not in str(said.value)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_where_only_the_beginning_is_whole_another_run_is_refused_all_the_same(tmp_path):
    run(1, every_step(tmp_path, keep=99))
    assert steps_in(tmp_path)[0] == 0
    for step in steps_in(tmp_path)[1:]:
        SPOILT["halved"](files(tmp_path, step)[-1])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="^`checkpoint` must hold the same run"):
        run(1, every_step(tmp_path), width=2 * SMALL)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
