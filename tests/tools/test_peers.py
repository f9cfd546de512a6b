"""tools/bench/peers.py: the best form counts, ratios are to our file, and what is not measured is said."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "tools/bench"
sys.path.append(str(BENCH))
import peers  # noqa: E402
from training import Worker  # noqa: E402
from worker import Settings  # noqa: E402

SETTINGS = Settings("lighter_unet@1", 64, 1, "float32", 1)


def test_a_worker_answers_seconds_and_memory(tmp_path):
    script = tmp_path / "idle.py"
    script.write_text(
        f"import sys; sys.path.append({str(BENCH)!r})\n"
        "from worker import about, serve\n"
        "serve(lambda settings: (lambda: bytearray(b'1' * 64 * 2**20), about(settings.name)))\n"
    )
    worker = Worker([sys.executable, script], SETTINGS)
    facts = worker.answer()
    assert facts["version"] == "lighter_unet@1"
    assert worker.seconds(2) > 0
    assert worker.peak_mib() >= facts["imported_mib"] + 60  # a step holds 64 MiB or more
    worker.close()


def test_the_faster_form_counts_and_ratios_are_of_rounds():
    times = [
        {"litert int8": 0.001, "onnxruntime int8 u8s8": 0.004, "onnxruntime int8 s8s8": 0.002},
        {"litert int8": 0.002, "onnxruntime int8 u8s8": 0.004, "onnxruntime int8 s8s8": 0.002},
        {"litert int8": 0.003, "onnxruntime int8 u8s8": 0.004, "onnxruntime int8 s8s8": 0.009},
    ]
    facts = {key: {"version": "1.0", "peak_mib": 90, "imported_mib": 40} for key in times[0]}
    ours, theirs = peers.rows(dict.fromkeys(times[0], 2_500_000), times, facts)
    assert (ours["ms"], ours["ratio"], ours["file_mb"]) == (2, 1, 2.5)
    assert (theirs["form"], theirs["ms"], theirs["ratio"]) == ("onnxruntime int8 s8s8", 2, 2)  # of 2, 1 and 3

    result = {
        "settings": {"image_size": 64, "threads": 1, "rounds": 3},
        "processor": "a CPU",
        "networks": [{"name": "net", "runtimes": [ours, theirs]}],
        "not_measured": ["openvino: none of A has openvino"],
    }
    assert peers.table(result).splitlines() == [
        "64x64, 1 thread of a CPU, median of 3 rounds; litert 1.0, onnxruntime 1.0.",
        "",
        "| network | precision | runtime | ms | / tfseg | peak memory, MiB | before the file, MiB | file, MB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
        "| net | int8 | tfseg, LiteRT | 2.0 | 1.00 | 90 | 40 | 2.50 |",
        "| net | int8 | ONNX Runtime | 2.0 | 2.00 | 90 | 40 | 2.50 |",
        "",
        "not measured: openvino: none of A has openvino",
    ]


@pytest.mark.parametrize(
    ("installed", "runtimes", "missing"),
    [
        pytest.param(
            {"torch"},
            {"litert", "onnxruntime", "torch"},
            ["executorch: none of A, B has torch and executorch", "openvino: none of A, B has openvino"],
            id="no-more-than-parity",
        ),
        pytest.param(
            {"torch", "executorch", "openvino"},
            {"litert", "onnxruntime", "torch", "openvino"},
            ["executorch: lighter_unet@1 cannot be exported: RuntimeError: no such operator"],
            id="export-fails",
        ),
    ],
)
def test_what_is_not_measured_is_named(monkeypatch, tmp_path, installed, runtimes, missing):
    files = ("fp32.tflite", "int8.tflite", "fp32.onnx", "u8s8.onnx", "s8s8.onnx")
    monkeypatch.setattr(peers, "prepare", lambda *_: {file: ["A", "worker.py", tmp_path / file] for file in files})
    monkeypatch.setattr(peers, "torch_python", lambda *_: "A")
    monkeypatch.setattr(peers, "python_with", lambda packages, pythons: "B" if installed.issuperset(packages) else None)
    failed = "RuntimeError: no such operator"
    monkeypatch.setattr(peers, "save", lambda name, size, path, python: failed if path.suffix == ".pte" else "")
    commands, reasons = peers.prepare_all(SETTINGS, tmp_path, ["A", "B"])
    assert {key.split()[0] for key in commands} == runtimes
    assert reasons == missing


def test_why_an_export_failed_is_its_last_line(tmp_path):
    assert peers.save("no_such_network", 64, tmp_path / "network.pt", "false") == "ended with 1"
