import gzip

import numpy as np
import pytest

from gdjax import tasks
from gdjax.tasks import datasets


@pytest.mark.parametrize(("name", "rows", "features", "classes"), [
    ("digits", 1797, 60, tuple("0123456789")),
    ("moons", 1000, 2, ("0", "1")),
    ("breast_cancer", 569, 30, ("benign", "malignant")),
    ("diabetes", 442, 10, ()),
])  # fmt: skip
def test_built_in(name, rows, features, classes):
    task = tasks.load(name)
    parts = (task.train, task.validation, task.test)
    assert sum(len(y) for _, y in parts) == rows
    np.testing.assert_allclose([len(y) / rows for _, y in parts], (0.6, 0.2, 0.2), atol=1.5 / rows)
    assert {x.shape[1:] for x, _ in parts} == {(features,)}
    assert all(np.isfinite(x).all() for x, _ in parts)
    assert (task.name, task.classes) == (name, classes)
    assert task.kind == ("classification" if classes else "regression")


def test_diabetes_keeps_its_units():
    task = tasks.load("diabetes")
    everything = np.concatenate([np.asarray(y) for _, y in (task.train, task.validation, task.test)])
    units = everything * task.target_scale + task.target_mean
    assert (round(units.min()), round(units.max())) == (25, 346)


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def fashion(folder, *, packed=False, **instead):
    """A folder of four small idx files; `instead` replaces (or, by None, removes) one by its first word."""
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 3))
    labels = np.arange(30) % 3
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            raw = instead.get(f"{part}_{kind[:6]}", idx(array))
            if raw is not None:
                path = folder / f"{part}-{kind}-ubyte{'.gz' if packed else ''}"
                path.write_bytes(gzip.compress(raw) if packed else raw)
    return images


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder(tmp_path, packed):
    images = fashion(tmp_path, packed=packed)
    table = datasets.idx_folder(tmp_path)
    np.testing.assert_array_equal(table.features, np.concatenate([images, images]).reshape(60, 12))
    assert list(table.target) == list("012") * 20
    task = tasks.load(str(tmp_path))
    assert (task.classes, task.train[0].shape) == (("0", "1", "2"), (36, 12))


def test_fashion_mnist_from_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "FASHION_MNIST", tmp_path / "none")
    with pytest.raises(ValueError, match=r"`data` fashion-mnist must be installed in .*none.* \(Debian: apt install"):
        tasks.load("fashion-mnist")
    monkeypatch.setattr(datasets, "FASHION_MNIST", tmp_path)
    fashion(tmp_path)
    assert tasks.load("fashion-mnist").train[0].shape == (36, 12)


@pytest.mark.parametrize("instead", [
    pytest.param({"train_images": None}, id="missing"),
    pytest.param({"train_images": b""}, id="empty"),
    pytest.param({"train_images": b"\0\0\x08"}, id="header only"),
    pytest.param({"train_images": b"\0\0\x0d\1\0\0\0\1\0\0\0\0"}, id="floats"),
    pytest.param({"train_images": idx(np.zeros((30, 4, 3)))[:99]}, id="truncated"),
    pytest.param({"train_images": idx(np.zeros((29, 4, 3)))}, id="fewer images than labels"),
    pytest.param({"train_images": idx(np.zeros((30, 5, 3)))}, id="other size than the test part"),
    pytest.param({"train_labels": idx(np.zeros((30, 4)))}, id="labels with two axes"),
])  # fmt: skip
def test_idx_errors(tmp_path, instead):
    fashion(tmp_path, **instead)
    with pytest.raises(ValueError, match=r"^`data` must .*\.$") as error:
        tasks.load(str(tmp_path))
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("raw", [b"no gzip", gzip.compress(bytes(999))[:-9]], ids=["no gzip", "truncated"])
def test_broken_gzip(tmp_path, raw):
    fashion(tmp_path, train_images=None)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"^`data` must .*\.$"):
        tasks.load(str(tmp_path))
