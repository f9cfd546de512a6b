"""Files of PyTorch's old format: tensors are read as they were written, and nothing else is ever run."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tfseg.errors import InputError
from tfseg.models.torch_file import read_tensors

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Named:
    """Pickles as a global of another module, which need not be there."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __reduce__(self) -> str:
        return self.name


class Pickler(pickle._Pickler):  # type: ignore[name-defined] # the one in Python, whose save_global can be replaced
    def save_global(self, obj, name=None):
        if isinstance(obj, Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        else:
            super().save_global(obj, name)

    def persistent_id(self, obj):
        return obj.key if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Tensor):
            arguments = (obj.storage, obj.offset, obj.shape, obj.strides, False, OrderedDict())
            self.save_reduce(Named("torch._utils", "_rebuild_tensor_v2"), arguments, obj=obj)
        else:
            super().save(obj, save_persistent_id)

    def save_reduce(self, func, args, *rest, obj=None, **options):
        if isinstance(func, Named):
            self.save_global(func)
            self.save(args)
            self.write(pickle.REDUCE)
        else:
            super().save_reduce(func, args, *rest, obj=obj, **options)


class Storage:
    def __init__(self, key, values):
        self.key, self.values = ("storage", Named("torch", "FloatStorage"), key, "cpu", values.size, None), values


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides


def pickled(value) -> bytes:
    file = io.BytesIO()
    Pickler(file, 2).dump(value)
    return file.getvalue()


def written(path: Path, tensors: dict, *, magic=MAGIC) -> Path:
    storages = {tensor.storage.key[2]: tensor.storage.values for tensor in tensors.values()}
    content = b"".join(map(pickled, (magic, VERSION, SYSTEM, OrderedDict(tensors), list(storages))))
    for values in storages.values():
        content += np.int64(values.size).tobytes() + values.astype("<f4").tobytes()
    path.write_bytes(content)
    return path


@pytest.fixture
def storage():
    return Storage("7", np.arange(6, dtype=np.float32))


def test_a_tensor_is_a_strided_view_of_its_storage(tmp_path, storage):
    tensors = {"a": Tensor(storage, 0, (2, 3), (3, 1)), "turned": Tensor(storage, 0, (3, 2), (1, 3))}
    tensors["last"] = Tensor(storage, 5, (), ())
    found = read_tensors(written(tmp_path / "w.pth", tensors))
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    assert found["last"] == 5


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(1, (2, 3), (3, 1)), (0, (2, 3), (4, 1)), (-1, (2,), (1,)), (0, (7,), (1,))]
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, storage, offset, shape, strides):
    path = written(tmp_path / "w.pth", {"a": Tensor(storage, offset, shape, strides)})
    with pytest.raises(InputError, match="beyond its storage"):
        read_tensors(path)


def test_what_a_pickle_asks_to_run_is_not_run(tmp_path):
    path = tmp_path / "w.pth"
    harm = f"cos\nsystem\n(Vtouch {tmp_path / 'harm'}\ntR.".encode()
    path.write_bytes(b"".join(map(pickled, (MAGIC, VERSION, SYSTEM))) + harm)
    with pytest.raises(InputError, match="system, which is not a tensor"):
        read_tensors(path)
    assert not (tmp_path / "harm").exists()
    assert list(tmp_path.iterdir()) == [path]


def test_another_format_and_a_damaged_file_are_refused_in_one_line(tmp_path, storage):
    whole = written(tmp_path / "w.pth", {"a": Tensor(storage, 0, (2, 3), (3, 1))})
    content = whole.read_bytes()
    other = written(tmp_path / "other.pth", {"a": Tensor(storage, 0, (2, 3), (3, 1))}, magic=5)
    with pytest.raises(InputError, match=r"other\.pth: not a state dict"):
        read_tensors(other)
    with pytest.raises(InputError, match=r"none\.pth: cannot read the weights"):
        read_tensors(tmp_path / "none.pth")
    for length in (0, 5, len(content) // 2, len(content) - 3):
        whole.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"w\.pth: not a state dict"):
            read_tensors(whole)
