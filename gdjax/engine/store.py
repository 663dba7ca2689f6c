"""A folder of checkpoints: written aside while the run goes on, sealed when they are whole, looked over before use.

A checkpoint is a folder `step-…` of orbax's and a seal `step-….json` beside it, written last: what the checkpoint is
of, and a digest of every file. Without its seal a checkpoint is not there; with a file that the seal does not agree
with it is set aside, and the one before it is taken.
"""

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from gdjax.data.meshes import laid
from gdjax.engine.processes import anywhere

SEAL_BYTES = 64
"""Digits of the digest that ends a seal."""


NAME = r"step-\d+"
"""What checkpoints are called; nothing else in their folder is touched."""


LARGE = 2**16
"""Bytes of an array, on an average, from which on each has a file of its own."""

REMOVALS = 30
"""How often it is tried to remove what was not finished, a tenth of a second apart."""

AGAIN = r"(\.again-\d+)?"
"""What the name ends in while a checkpoint is written where this process has failed to write one before."""

_failures: collections.Counter[str] = collections.Counter()
"""How often a save failed in each folder, in this process. tensorstore may still be writing then, for a moment and by
name, so that nothing is written again under a name that failed."""


class Saved(NamedTuple):
    """A checkpoint that is whole."""

    step: int
    about: dict[str, Any]
    """What was said of it."""
    arrays: dict[str, Any]
    """{name: [key, shape, dtype]}"""
    scalars: dict[str, Any]
    """{name: [dtype, bytes]} of single numbers, which are in the seal itself"""
    files: dict[str, Any]
    """{path within it: [bytes, CRC-32]}"""


class Store:
    """Checkpoints in a folder, on a disk or in a bucket; those of a run over several processes in a shared one.

    Args:
      folder: where they are.
      keep: how many of the newest are kept; the one of the lowest loss is kept as well.
      together: whether all processes that `jax.distributed` has joined write them together.

    Raises:
      ImportError: if orbax is not installed.
      ValueError: if the folder cannot be made or written to, or another run is writing there.
    """

    def __init__(self, folder: str, *, keep: int, together: bool = False) -> None:
        try:
            import orbax.checkpoint as ocp
        except ImportError:
            raise ImportError(
                "`checkpoint` needs orbax, got none: pip install orbax-checkpoint, or 'gdjax[checkpoint]'."
            ) from None
        index = jax.process_index()
        self.keep, self.together, self.primary = keep, together, not together or index == 0
        self.folder = place_of(folder)
        self.lock: Any = None
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.writing: concurrent.futures.Future | None = None
        self.losses: dict[int, float | None] = {}
        if self.primary:
            self._prepare()
        self.orbax = ocp
        self.alone = index
        logging.getLogger("absl").addFilter(_of_no_consequence)

    @functools.cached_property
    def large(self) -> Any:
        """What writes few, large arrays: a file each, in a third of the time."""
        return self._checkpointer(use_ocdbt=False)

    @functools.cached_property
    def small(self) -> Any:
        """What writes many, small arrays, and reads all: a few files for all of them."""
        return self._checkpointer(use_ocdbt=True)

    def _checkpointer(self, *, use_ocdbt: bool) -> Any:
        ocp, options = self.orbax, self.orbax.options.MultiprocessingOptions()
        if not self.together:
            prefix = f"alone{self.alone}"
            options = ocp.options.MultiprocessingOptions(
                primary_host=self.alone, active_processes={self.alone}, barrier_sync_key_prefix=prefix
            )
        return ocp.AsyncCheckpointer(
            # Compressed, most of a save's time would go into making it a tenth smaller.
            ocp.PyTreeCheckpointHandler(use_compression=False, use_ocdbt=use_ocdbt, multiprocessing_options=options),
            multiprocessing_options=options,
            # Else a folder that cannot be made leaves threads that wait for it, and so a process that does not end.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.writing is not None and not self.writing.done()

    def save(self, step: int, tree: dict[str, Any], about: dict[str, Any]) -> None:
        """Begin to write a checkpoint, once the one before it is written.

        Args:
          step: its number; one that is there already stays as it is.
          tree: {name: array}.
          about: what to say of it, for JSON; its "loss", where it has one, tells the best from the others.

        Raises:
          OSError: if it or the one before could not be written.
        """
        self.finish()
        if step in self.losses:
            return
        numbers = {name: leaf for name, leaf in tree.items() if _is_number(leaf)}
        scalars = {name: [str(x.dtype), x.tobytes().hex()] for name, x in jax.device_get(numbers).items()}
        tree = {name: leaf for name, leaf in tree.items() if name not in numbers}
        names = {name: [key, list(np.shape(tree[name])), str(tree[name].dtype)] for name, key in _keys(tree).items()}
        arrays = {names[name][0]: _plain(leaf) for name, leaf in tree.items() if np.size(leaf)}
        arrays = arrays or {"nothing": np.zeros(1)}
        size = sum(leaf.nbytes for leaf in arrays.values())
        checkpointer = self.large if size >= LARGE * len(arrays) else self.small
        again = 0 if self.together else _failures[str(self.folder)]
        place = self.folder / (f"{name_of(step)}.again-{again}" if again else name_of(step))
        with self._noted(place):
            checkpointer.save(place, args=self.orbax.args.PyTreeSave(arrays), force=True)
        self.writing = self.thread.submit(
            self._seal, checkpointer, place, step, {"about": about, "arrays": names, "scalars": scalars}
        )

    def check(self) -> None:
        """Raise OSError if what was begun could not be written; of processes together, all find it at the next save."""
        if not self.busy and not self.together:
            self.finish()

    def finish(self) -> None:
        """Wait until what was begun is written.

        Raises:
          OSError: if it could not be.
        """
        writing, self.writing = self.writing, None
        error = None if writing is None else writing.exception()
        if self.together and anywhere(error is not None):
            error = error or OSError("another process could not write it")
        with self._noted(self.folder):
            if error is not None:
                raise error

    @contextlib.contextmanager
    def _noted(self, place: Any) -> Iterator[None]:
        """Of what fails below it is remembered that it did."""
        try:
            with _as_os_error(place):
                yield
        except OSError:
            _failures[str(self.folder)] += 1
            raise

    def close(self) -> None:
        """Write nothing more."""
        self.thread.shutdown()
        with contextlib.suppress(Exception):  # what could not be written has been told, or another error is on its way
            for name in {"large", "small"} & vars(self).keys():
                getattr(self, name).close()
        if self.lock is not None:
            self.lock.close()

    def newest(self) -> tuple[Saved | None, dict[int, str]]:
        """(the newest checkpoint that is whole, {step: what is wrong with it} of newer ones).

        Raises:
          ValueError: if there are some, and none is whole.
        """
        faults: dict[int, str] = {}
        for step in sorted(self.losses, reverse=True):
            saved = self.read(step)
            fault = saved if isinstance(saved, str) else self._fault(saved)
            if fault is None:
                assert isinstance(saved, Saved)
                return saved, faults
            faults[step] = f"checkpoint {step} is damaged ({fault})"
        if faults:
            raise ValueError(
                f"`checkpoint` must hold one that is whole, got none in '{self.folder}': {'; '.join(faults.values())}."
            )
        return None, faults

    def set_aside(self, step: int) -> None:
        """Give way for another checkpoint of that step."""
        self.losses.pop(step, None)
        if not self.primary:
            return
        for name in (name_of(step), f"{name_of(step)}.json"):
            place = self.folder / f"damaged-{name}"
            if place.is_dir():
                place.rmtree()
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).replace(place)

    def load(self, saved: Saved, like: dict[str, Any]) -> dict[str, Any]:
        """The arrays of a checkpoint, by their names.

        Args:
          saved: which.
          like: {name: an array that lies where the checkpoint's shall lie}; others come as arrays of NumPy.
        """
        targets: dict[str, Any] = {}
        for name, (key, shape, _) in saved.arrays.items():
            if 0 not in shape:
                on_devices = isinstance(like.get(name), jax.Array)
                targets[key] = (
                    self.orbax.ArrayRestoreArgs(sharding=like[name].sharding)
                    if on_devices
                    else self.orbax.RestoreArgs(restore_type=np.ndarray)
                )
        with _as_os_error(self.folder / name_of(saved.step)):
            found = self.small.restore(
                self.folder / name_of(saved.step),
                args=self.orbax.args.PyTreeRestore(dict.fromkeys(targets, 0), restore_args=targets),
            )
        arrays: dict[str, Any] = {}
        for name, (key, shape, dtype) in saved.arrays.items():
            if key not in found:
                arrays[name] = like[name] if name in like else np.zeros(shape, dtype)
                continue
            arrays[name] = _as_it_lay(found[key], like.get(name))
        for name, (dtype, bytes_) in saved.scalars.items():
            number = np.frombuffer(bytes.fromhex(bytes_), dtype).reshape(())
            target = like.get(name)
            arrays[name] = number
            if isinstance(target, jax.Array):
                arrays[name] = laid(number, target.sharding) if target.committed else jax.numpy.asarray(number)
        return arrays

    def _prepare(self) -> None:
        """Make the folder, and take away what was not finished in it."""
        prepared(self.folder)
        self.lock = _locked(self.folder)
        names = [path.name for path in self.folder.iterdir()]
        seals = {name.removesuffix(".json") for name in names if re.fullmatch(rf"{NAME}\.json", name)}
        for name in names:  # of which some may be others'
            if re.fullmatch(rf"{NAME}{AGAIN}(\.orbax-checkpoint-tmp.*|\.json\.writing)?", name) and name not in seals:
                _remove(self.folder / name)
        for step in (int(name.rpartition("-")[2]) for name in seals):
            saved = self.read(step)
            self.losses[step] = saved.about.get("loss") if isinstance(saved, Saved) else None

    def _seal(self, checkpointer: Any, place: Any, step: int, content: dict[str, Any]) -> None:
        """Wait until a checkpoint is written, say that it is whole, and take away those that need not be kept."""
        checkpointer.wait_until_finished()
        if place.name != name_of(step):
            place.replace(self.folder / name_of(step))
        if self.primary:
            content = content | {"files": {name: _digest(path) for name, path in _files(self.folder / name_of(step))}}
            text = json.dumps(content)
            aside = self.folder / f"{name_of(step)}.json.writing"
            aside.write_text(text + hashlib.sha256(text.encode()).hexdigest())
            aside.replace(self.folder / f"{name_of(step)}.json")
        self.losses[step] = content["about"].get("loss")
        if self.primary:
            self._thin_out()

    def _thin_out(self) -> None:
        """Keep the newest and the best."""
        kept = set(sorted(self.losses)[-self.keep :])
        judged = {step: loss for step, loss in self.losses.items() if loss is not None}
        if judged:
            kept.add(min(judged, key=lambda step: (judged[step], -step)))
        for step in self.losses.keys() - kept:
            (self.folder / f"{name_of(step)}.json").unlink()  # first, so that half of it is never taken for the whole
            (self.folder / name_of(step)).rmtree()
            del self.losses[step]

    def read(self, step: int) -> Saved | str:
        """What a seal says, or what is wrong with it."""
        try:
            text = (self.folder / f"{name_of(step)}.json").read_text()
            if hashlib.sha256(text[:-SEAL_BYTES].encode()).hexdigest() != text[-SEAL_BYTES:]:
                return "its seal is altered"
            content = json.loads(text[:-SEAL_BYTES])
        except (OSError, ValueError) as error:
            return f"its seal cannot be read: {error}"
        return Saved(step, content["about"], content["arrays"], content["scalars"], content["files"])

    def _fault(self, saved: Saved) -> str | None:
        """What is wrong with a checkpoint's files, if anything is."""
        for name, (size, digest) in saved.files.items():
            path = self.folder / name_of(saved.step) / name
            if not path.exists():
                return f"{name} is missing"
            found = _digest(path)
            if found[0] != size:
                return f"{name} has {found[0]} bytes instead of {size}"
            if found[1] != digest:
                return f"{name} is altered"
        return None


def name_of(step: int) -> str:
    """What a checkpoint is called."""
    return f"step-{step}"


def prepared(folder: Any) -> None:
    """Make a folder.

    Raises:
      ValueError: if that, or writing to it, cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_text("")
        probe.unlink(missing_ok=True)  # another run may begin at the same moment
    except OSError as error:
        raise ValueError(
            f"`checkpoint` must be a folder that can be written to, got '{folder}' ({error.strerror})."
        ) from error


def place_of(folder: str) -> Any:
    """A folder on a disk, from its root, or in a bucket."""
    from etils import epath  # which comes with orbax

    try:
        path = epath.Path(folder)
    except KeyError:
        raise ValueError(f"`checkpoint` must be a folder, or a bucket such as gs://name, got '{folder}'.") from None
    return path if "://" in str(folder) else path.expanduser().absolute()


@contextlib.contextmanager
def _as_os_error(place: Any) -> Any:
    """Whatever goes wrong below, of orbax or tensorstore, is a file that could not be written or read."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OSError(f"'{place}' could not be written or read: {reason}") from error


def _of_no_consequence(record: logging.LogRecord) -> bool:
    """All that orbax logs, but that arrays with files of their own need not be put together."""
    return "Skipping merge of OCDBT" not in record.getMessage()


def _remove(path: Any) -> None:
    """Take away a file or a folder, into which what failed before may still be writing for a moment."""
    for attempt in range(REMOVALS):
        try:
            path.rmtree() if path.is_dir() else path.unlink()
        except OSError:
            if attempt + 1 == REMOVALS:
                raise
            time.sleep(0.1)
        else:
            return


def _keys(tree: dict[str, Any]) -> dict[str, str]:
    """{name: what orbax shall call it}: short of what a path cannot hold, and each once."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for place, name in enumerate(tree):
        key = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100] or "array"
        keys[name] = key if key not in taken else f"{key}_{place}_"
        taken.add(keys[name])
    return keys


def _is_number(leaf: Any) -> bool:
    """Whether an array is a single number; each has its bits in the seal, since a file of its own takes longer."""
    return np.shape(leaf) == () and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """An array that every format knows: of a PRNG key its words."""
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _as_it_lay(found: Any, like: Any) -> Any:
    """An array as the run had it; one that lay on a device by nobody's order again lies so."""
    if not isinstance(like, jax.Array):
        return found
    if not like.committed:
        found = jax.numpy.asarray(np.asarray(found))
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(found, impl=jax.random.key_impl(like))
    return found


def _files(folder: Any) -> list[tuple[str, Any]]:
    """(path within the folder, path) of all files beneath, in order."""
    found: list[tuple[str, Any]] = []
    for path in folder.iterdir():
        inner = [(f"{path.name}/{name}", file) for name, file in _files(path)] if path.is_dir() else [(path.name, path)]
        found += inner
    return sorted(found, key=lambda each: each[0])


def _digest(path: Any) -> list[int]:
    """[bytes, CRC-32] of a file: it sees any one byte that changes, in a quarter of the time of a longer digest."""
    digest, size = 0, 0
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest = zlib.crc32(part, digest)
            size += len(part)
    return [size, digest]


def _locked(folder: Any) -> Any:
    """A file that only one process at a time may hold, where files can be held.

    Raises:
      ValueError: if another does.
    """
    try:
        import fcntl
    except ImportError:  # only POSIX has it
        return None
    if "://" in str(folder):
        return None
    try:
        lock = os.fdopen(os.open(folder / ".lock", os.O_CREAT | os.O_WRONLY), "w")
    except OSError as error:
        raise ValueError(
            f"`checkpoint` must be a folder that can be written to, got '{folder}' ({error.strerror})."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(f"`checkpoint` must be a folder that no other run writes to, got '{folder}'.") from None
    except OSError as error:  # a file system that cannot hold files
        warnings.warn(f"'{folder}' cannot be kept from other runs ({error.strerror}).", stacklevel=2)
    return lock
