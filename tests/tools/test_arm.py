"""tools/bench/arm.py: what is missing is said, counts repeat, and Arm answers what this host answers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "tools/bench"
sys.path.append(str(BENCH))
import arm  # noqa: E402
import emulator  # noqa: E402

ROOT = emulator.default_root()  # tests have a home of their own


def test_missing_programs_are_named_with_their_packages(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.which", lambda program, path: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    expected = (
        "missing qemu-aarch64, debootstrap, dpkg, gcc, setarch: apt install qemu-user debootstrap dpkg gcc util-linux"
    )
    with pytest.raises(SystemExit, match=f"^{expected}$"):
        emulator.prepare(tmp_path / "arm")
    assert not (tmp_path / "arm").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit, match="holds something else; name an empty folder or none"):
        emulator.prepare(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_an_interrupted_preparation_is_redone(monkeypatch, tmp_path):
    root = tmp_path / "arm"
    made = []
    monkeypatch.setattr(emulator, "_missing", lambda *programs: "")
    monkeypatch.setattr(emulator, "_call", lambda command: None)
    monkeypatch.setattr(emulator, "_system", lambda folder: (folder / "half").write_text("") or made.append(folder))
    monkeypatch.setattr(emulator, "_wheels", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        emulator.prepare(root)
    assert "not prepared" in emulator.obstacle(root)
    monkeypatch.setattr(emulator, "_wheels", lambda folder: None)
    emulator.prepare(root)
    assert emulator.obstacle(root) == ""
    emulator.prepare(root)  # is there already
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["arm"]

    monkeypatch.setattr(emulator, "ONNXRUNTIME", "onnxruntime==2.0.0")
    assert "prepared for other versions" in emulator.obstacle(root)
    emulator.prepare(root)
    assert len(made) == 3


def test_every_wheel_has_its_version():
    assert len(emulator._pins()) == len(emulator.PACKAGES) + 1


def test_where_outputs_part_and_how_many_pixels_flip(monkeypatch, tmp_path):
    here = {"3 first": np.zeros(2), "5 second/2": np.ones(2), "7 logits": np.array([0.4, 0.6])}
    there = here | {"5 second/2": np.zeros(2), "7 logits": np.array([0.5, 0.7])}

    def stand_in(found, every):
        outputs = found if every else {"7 logits": found["7 logits"]}
        return emulator.Run(instructions=1000, outputs=outputs)

    monkeypatch.setattr(emulator, "run", lambda root, path, every=False: stand_in(there, every))
    monkeypatch.setattr(emulator, "run_here", lambda path, every=False: stand_in(here, every))
    (tmp_path / "a.tflite").write_bytes(b"no metadata")
    answer = arm.compare(tmp_path / "a.tflite", tmp_path)
    assert answer == arm.Answer(instructions=1000, equal=False, parts_at="second/2", flipped_pixels=1, pixels=2)
    assert str(answer) == "outputs part at 'second/2', 1 of 2 pixels flipped"


def test_the_table_takes_the_better_form_of_onnxruntime():
    ours = {"instructions": 2_000_000, "equal": True, "flipped_pixels": 0, "pixels": 9}
    row = {"name": "unet", "tfseg": ours, "onnxruntime": {"a": 5_000_000, "b": 4_000_000}, "ratio": 2.0}
    versions = {"qemu": "7.2", "ai-edge-litert": "2", "onnxruntime": "1"}
    lines = arm.table({"versions": versions, "networks": [row], "geometric_mean": 2.0}).splitlines()
    assert "instructions, not time" in lines[0]
    assert lines[-2:] == ["| unet | 2 | 4 | 2.00 | yes |", "| geometric mean | | | 2.00 | |"]


@pytest.mark.slow
# The converter misses statistics that only files made without calibration images need.
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected:UserWarning")
def test_counts_repeat_and_outputs_are_those_of_the_host(tmp_path):
    if obstacle := emulator.obstacle(ROOT):
        pytest.skip(obstacle)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny())
    results = []
    for out in (tmp_path / "1.json", tmp_path / "2.json"):
        subprocess.run([sys.executable, BENCH / "arm.py", path, "--root", ROOT, "--json", out], check=True)
        results.append(json.loads(out.read_text()))
    assert results[0] == results[1]
    (result,) = results[0]
    assert result["equal"]
    # 32 * 32 pixels of 8 channels with 8 * 9 weights: 590,000 products, of which a dot product does 16 at a time.
    assert 590_000 / 16 < result["instructions"] < 590_000


def tiny() -> bytes:
    """Return an int8 file with one convolution."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    image = keras.Input(batch_shape=(1, 32, 32, 8), name="image")
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Model(image, keras.layers.Conv2D(8, 3, padding="same")(image))
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: ([rng.random((1, 32, 32, 8), "float32")] for _ in range(2))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()
