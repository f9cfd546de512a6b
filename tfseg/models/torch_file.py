"""Weights in PyTorch's file format of before 1.6, read without PyTorch and without running what a pickle may ask for.

Such a file is a chain of pickles (magic number, version, system, tensors by name, order of the storages), then the
numbers of each storage: an int64 count and the raw values.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfseg.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _View(NamedTuple):
    """A tensor as the pickle describes it: a strided view of a storage."""

    storage: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name, as arrays of float32 or int64 in PyTorch's layout.

    Raises:
        InputError: the file is missing, damaged, of another format, or holds anything but tensors.
    """
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the weights ({error.strerror})") from error
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a state dict in PyTorch's format of before 1.6 ({error})") from error


def _read(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    magic, version, system = (_Unpickler(file).load() for _ in range(3))
    if (magic, version) != (_MAGIC, _VERSION) or not system["little_endian"]:
        raise ValueError(f"its header is {magic!r}, {version!r}")
    views: Mapping[str, _View] = _Unpickler(file).load()
    dtypes = {view.storage: view.dtype for view in views.values()}
    storages = {}
    for key in _Unpickler(file).load():
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        values = file.read(count * dtypes[key].itemsize)
        storages[key] = np.frombuffer(values, dtypes[key], count)
    return {name: _tensor(view, storages[view.storage]) for name, view in views.items()}


def _tensor(view: _View, storage: np.ndarray) -> np.ndarray:
    last = view.offset + sum((side - 1) * stride for side, stride in zip(view.shape, view.strides, strict=True))
    if min((view.offset, last, *view.shape, *view.strides)) < 0 or last >= storage.size:
        raise ValueError(f"a tensor of shape {view.shape} reaches beyond its storage of {storage.size} numbers")
    strides = tuple(stride * storage.itemsize for stride in view.strides)
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Knows the three names that a file of tensors needs, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it refers to a {kind!r}, which is not a storage")
        return str(key), dtype


def _view(
    storage: tuple[str, np.dtype], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _View:
    key, dtype = storage
    return _View(key, dtype, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
