import zipfile

import numpy as np
import pandas as pd
import pytest

from gdjax import tasks
from gdjax.tasks.tables import droppable, kind_of_target, read_table

ROWS = 40


def csv(folder, header, line, rows=ROWS):
    path = folder / "table.csv"
    path.write_text("\n".join([header, *(line(i) for i in range(rows))]), encoding="utf-8")
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
def test_any_delimiter_and_byte_order_mark(tmp_path, delimiter, mark):
    path = csv(
        tmp_path, mark + delimiter.join(["first", "kind", "y"]), lambda i: delimiter.join([f"{i}.5", "ab"[i % 2], "1"])
    )
    table = read_table(path, "y")
    assert list(table.features.columns) == ["first", "kind"]
    assert list(table.features["first"]) == [i + 0.5 for i in range(ROWS)]
    assert list(table.target) == [1] * ROWS


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_quotes_spaces_and_line_ends(tmp_path, line_end):
    path = tmp_path / "quoted.csv"
    lines = ["y, name ,size", *(f'{i % 2}, "Braund, Mr. ""Owen""; {i}" , {i}.5' for i in range(3))]
    path.write_bytes(line_end.join(lines).encode())
    table = read_table(path, "y")
    assert list(table.features.columns) == ["name", "size"]
    assert [name.strip() for name in table.features["name"]] == [f'Braund, Mr. "Owen"; {i}' for i in range(3)]
    assert list(table.target) == [0, 1, 0]


def test_a_comma_at_the_end_of_each_line_shifts_no_column(tmp_path):
    table = read_table(csv(tmp_path, "a,b,y", lambda i: f"{i}.5,7,{i % 2},"), "y")
    assert list(table.features["a"])[:2] == [0.5, 1.5]
    assert list(table.target)[:2] == [0, 1]


def test_rows_without_a_target_are_left_out_loud(tmp_path):
    table = read_table(csv(tmp_path, "y,a", lambda i: f"{'' if i % 4 == 0 else i % 3},{i}.5"), "y")
    assert list(table.target) == [i % 3 for i in range(ROWS) if i % 4]
    assert table.target.dtype == np.int64
    assert list(table.features["a"]) == [i + 0.5 for i in range(ROWS) if i % 4]
    assert table.notes == ("10 rows without a value of 'y' are left out.",)


def test_npz(tmp_path):
    path, random = tmp_path / "arrays.npz", np.random.default_rng(0)
    image, word, y = random.normal(size=(ROWS, 2, 3)), np.array(["p", "q"])[np.arange(ROWS) % 2], np.arange(ROWS) * 0.5
    np.savez(path, image=image, word=word, y=y)
    table = read_table(path, "y")
    assert list(table.features.columns) == [*(f"image[{i}]" for i in range(6)), "word"]
    np.testing.assert_array_equal(table.features.iloc[:, :6].to_numpy(float), image.reshape(ROWS, 6))
    np.testing.assert_array_equal(table.target, y)
    assert tasks.load(str(path), target="y").train[0].shape == (24, 8)


@pytest.mark.parametrize(("values", "kind", "announced"), [
    (["yes", "no"], "classification", False),
    ([True, False], "classification", False),
    ([0.5, 1.0], "regression", False),
    (range(20), "classification", True),
    (range(21), "regression", False),
])  # fmt: skip
def test_kind_of_target(values, kind, announced):
    target = pd.Series([*values] * 3, name="y")
    found, note = kind_of_target(target)
    assert (found, bool(note)) == (kind, announced)
    if announced:
        assert note == "'y' holds integers of 20 values: taken as classes (--task regression overrides)."


@pytest.mark.parametrize(("name", "values", "why"), [
    ("PassengerId", range(100, 130), "it looks like an identifier"),
    ("customer_id", [7 * i for i in range(30)], "it looks like an identifier"),
    ("Unnamed: 0", range(30), "it looks like an identifier"),
    ("anything", range(60), "it looks like an identifier"),
    ("anything", range(30), None),
    ("anything", [7 * i for i in range(60)], None),
    ("paid", range(100, 130), None),
    ("id", [1, 1, 2], None),
    ("id", [0.5, 1.5, 2.5], None),
    ("ticket", [f"A/{i}" for i in range(51)], "it is text of 51 values"),
    ("ticket", [f"A/{i}" for i in range(50)] * 2, None),
    ("same", [3] * 30, "it has one value"),
    ("gap", [3, None], None),
    ("none", [None, float("nan")], "it is empty"),
])  # fmt: skip
def test_droppable(name, values, why):
    assert droppable(pd.Series([*values], name=name)) == why


@pytest.mark.parametrize(("content", "target", "argument", "value"), [
    pytest.param("a,y\n1,2\n", "z", "target", "'z'", id="no such target"),
    pytest.param("a,y\n1,2\n", None, "target", "none", id="no target named"),
    pytest.param("y\n1\n2\n", "y", "data", "'y'", id="nothing but the target"),
    pytest.param("a,y\n1,\n2,\n", "y", "data", "'y'", id="no value of the target"),
    pytest.param("a,y\n", "y", "data", "'y'", id="no rows"),
    pytest.param("", "y", "data", "table.csv", id="empty file"),
    pytest.param(b"a,y\n\xff,1\n", "y", "data", "table.csv", id="no UTF-8"),
    pytest.param("a,y\n1,2\n1,2,3,4\n", "y", "data", "table.csv", id="ragged"),
    pytest.param('a,y\n1,2\n"open,3\n', "y", "data", "table.csv", id="open quote"),
    pytest.param("a ,a,y\n1,2,3\n", "y", "data", "'a'", id="one name twice"),
])  # fmt: skip
def test_csv_errors(tmp_path, content, target, argument, value):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"^`{argument}` must .*, got .*\.$") as error:
        read_table(path, target)
    assert value in str(error.value)


def archive(path, **arrays):
    np.savez(path, **({"x": np.ones((12, 2)), "y": np.arange(12)} | arrays))


def truncated(path):
    archive(path)
    path.write_bytes(path.read_bytes()[:100])


def flipped(path):
    archive(path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\x3f")] ^= 1
    path.write_bytes(raw)


def of_text(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")


def of_one_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize(("make", "argument"), [
    pytest.param(lambda path: archive(path, y=np.arange(11)), "data", id="unequal rows"),
    pytest.param(lambda path: archive(path, z=np.array(3)), "data", id="scalar"),
    pytest.param(lambda path: archive(path, y=np.ones((12, 1))), "target", id="target with two axes"),
    pytest.param(lambda path: archive(path, x=np.array([{}] * 12)), "data", id="objects"),
    pytest.param(lambda path: archive(path, x=np.ones(12) * 1j), "data", id="complex"),
    pytest.param(lambda path: archive(path, x=np.ones((0, 2)), y=np.ones(0)), "data", id="no rows"),
    pytest.param(lambda path: path.write_bytes(b""), "data", id="empty file"),
    pytest.param(truncated, "data", id="truncated"),
    pytest.param(flipped, "data", id="flipped bit"),
    pytest.param(of_text, "data", id="zip of something else"),
    pytest.param(of_one_array, "data", id="npy"),
])  # fmt: skip
def test_npz_errors(tmp_path, make, argument):
    path = tmp_path / "arrays.npz"
    make(path)
    with pytest.raises(ValueError, match=rf"^`{argument}` must .*, got .*\.$"):
        tasks.load(str(path), target="y")


@pytest.mark.parametrize("header", ["y,a,y", "a,a,y", "a ,a,y"])
def test_a_doubled_name_is_refused(tmp_path, header):
    path = tmp_path / "doubled.csv"
    path.write_text(header + "\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match="`data` must name every column differently, got '[ay]' twice"):
        read_table(path, "y")
