"""Metadata: what goes in comes out, and what is no file of tfseg is refused in one line."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tfseg.errors import InputError
from tfseg.lite import interpret, metadata
from tfseg.lite.metadata import Metadata

ABOUT = Metadata(
    model="unet",
    image_size=16,
    channels=3,
    classes=("nerve", "Gefäß"),
    input="float32",
    head="logits",
    activation="softmax",
    threshold=0.4,
    largest_component=True,
    precision="fp32",
    keep_float="",
    training="usgra-unet-1",
    dataset="usgra",
    fingerprint="f" * 64,
    phantom=False,
    fold=None,
    calibration=("a/1.png", "2.png"),
    versions={"tfseg": "0.1.0"},
    proof={"nerve": {"dice": {"mean": -0.001}}},
)


@pytest.fixture(scope="module")
def plain(plain_tflite: Callable[..., Path]) -> bytes:
    """The content of a file that TensorFlow wrote."""
    return plain_tflite(keras.layers.Conv2D(2, 3, padding="same"), (16, 16, 3)).read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tflite"


def test_what_goes_in_comes_out(plain: bytes, path: Path) -> None:
    path.write_bytes(metadata.attach(plain, ABOUT))
    assert metadata.read(path) == ABOUT


def test_the_network_computes_the_same(plain: bytes) -> None:
    image = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
    before, after = (interpret.predict(content, ABOUT) for content in (plain, metadata.attach(plain, ABOUT)))
    np.testing.assert_array_equal(before(image), after(image))


def test_new_metadata_take_the_place_of_the_old(plain: bytes) -> None:
    once = metadata.attach(plain, ABOUT)
    again = metadata.attach(once, dataclasses.replace(ABOUT, proof={}))
    assert metadata.parse(again, "again").proof == {}
    assert again.count(b"usgra-unet-1") == 1
    assert metadata.attach(again, ABOUT) == once


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda content: b"", "not a .tflite file", id="empty"),
        pytest.param(lambda content: b"hello, world " * 1000, "not a .tflite file", id="text"),
        pytest.param(lambda content: b"\x00\x00\x00\x00TFL3", "not one of tfseg", id="identifier-alone"),
        pytest.param(lambda content: b"\xff\xff\xff\x7fTFL3" + bytes(500), "damaged", id="offset-outside"),
        pytest.param(
            lambda content: content[:8] + np.random.default_rng(0).bytes(len(content)), "damaged", id="garbage"
        ),
        pytest.param(lambda content: content[: len(content) // 2], "damaged", id="half"),
        pytest.param(lambda content: content[:-1], "damaged", id="one-byte-short"),
        pytest.param(lambda content: content[:-20] + bytes(20), "damaged", id="last-bytes-lost"),
    ],
)
def test_what_is_no_whole_file_is_refused(
    plain: bytes, path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path.write_bytes(damage(metadata.attach(plain, ABOUT)))
    for read in (metadata.read, interpret.open_file):
        with pytest.raises(InputError, match=rf"model\.tflite: .*{reason}") as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_any_changed_byte_is_noticed(plain: bytes, path: Path) -> None:
    content = metadata.attach(plain, ABOUT)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 200):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        with pytest.raises(InputError):
            metadata.read(path)


def test_another_tools_file_is_refused(plain: bytes, path: Path) -> None:
    path.write_bytes(plain)
    with pytest.raises(InputError, match=r"model\.tflite: a \.tflite file, but not one of tfseg; .*tfseg convert"):
        interpret.open_file(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        metadata.read(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="cannot be read"):
        metadata.read(tmp_path)


def test_another_schema_is_refused(plain: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "SCHEMA", 99)
    path.write_bytes(metadata.attach(plain, ABOUT))
    monkeypatch.undo()
    with pytest.raises(InputError, match="schema 99, and this version of tfseg reads 1"):
        metadata.read(path)
