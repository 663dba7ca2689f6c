"""The datasets that come with the tools: scikit-learn's, and Fashion-MNIST from where Debian puts it."""

import gzip
import pathlib
import zlib
from typing import Any

import numpy as np
import pandas as pd
import sklearn.datasets

from gdjax.tasks.tables import Table

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist installs its files."""

MOONS = 1000
"""Examples of the two moons."""


def built_in(name: str, seed: int) -> Table | None:
    """A built-in dataset, or None for a name that is none.

    Raises:
      ValueError: if Fashion-MNIST is asked for and not installed.
    """
    if name in LOADERS:
        x, y, names = LOADERS[name]()
        return Table(x, y if names is None else y.map(dict(enumerate(names))), ())
    if name == "moons":
        x, y = sklearn.datasets.make_moons(MOONS, noise=0.2, random_state=seed)
        return _from_arrays(x, y)
    if name == "fashion-mnist":
        if not FASHION_MNIST.is_dir():
            raise ValueError(
                f"`data` fashion-mnist must be installed in '{FASHION_MNIST}' (Debian: apt install "
                "dataset-fashion-mnist) or be given as a folder of its four idx files, got neither."
            )
        return idx_folder(FASHION_MNIST)
    return None


def _digits() -> tuple:
    bunch: Any = sklearn.datasets.load_digits(as_frame=True)
    return bunch.data, bunch.target, [str(name) for name in bunch.target_names]


def _breast_cancer() -> tuple:
    bunch: Any = sklearn.datasets.load_breast_cancer(as_frame=True)
    return bunch.data, bunch.target, bunch.target_names


def _diabetes() -> tuple:
    bunch: Any = sklearn.datasets.load_diabetes(as_frame=True, scaled=False)
    return bunch.data, bunch.target.astype(float), None


LOADERS = {"digits": _digits, "breast_cancer": _breast_cancer, "diabetes": _diabetes}

NAMES = ("digits", "moons", "breast_cancer", "diabetes", "fashion-mnist")


def idx_folder(folder: pathlib.Path) -> Table:
    """Images and labels of a folder of idx files, train and test together.

    Raises:
      ValueError: if a file is missing or no idx file.
    """
    parts = [
        (_read_idx(folder, f"{part}-images-idx3-ubyte"), _read_idx(folder, f"{part}-labels-idx1-ubyte"))
        for part in ("train", "t10k")
    ]
    for images, labels in parts:
        if images.ndim != 3 or labels.shape != images.shape[:1] or images.shape[1:] != parts[0][0].shape[1:]:
            raise ValueError(
                "`data` must hold images of one size and a label for each, got "
                f"images {images.shape} and labels {labels.shape} in '{folder}'."
            )
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _from_arrays(images.reshape(len(images), -1), labels)


def _read_idx(folder: pathlib.Path, name: str) -> np.ndarray:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            try:
                raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                if raw[:3] != b"\0\0\x08":
                    raise ValueError("another format")
                shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
                return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
            except (ValueError, IndexError, EOFError, OSError, zlib.error) as error:
                raise ValueError(
                    f"`data` must hold whole idx files of unsigned bytes, got '{path}' ({error})."
                ) from error
    raise ValueError(f"`data` must be a folder with the file '{name}' or '{name}.gz', got '{folder}'.")


def _from_arrays(x: np.ndarray, y: np.ndarray) -> Table:
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    return Table(frame, pd.Series(y, name="class").map(str), ())
