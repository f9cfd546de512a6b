"""The script that downloads a harness: one line where it cannot, and nothing kept that nobody confirmed."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tflite/android/get_harness.sh"
PROGRAM = b"\x7fELF" + bytes(range(200))


@pytest.fixture
def address(tmp_path):
    """Serve a folder on this machine."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/program").write_bytes(PROGRAM)
    (tmp_path / "served/page").write_bytes(b"<html>sign in to this network</html>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "served"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(tmp_path):
    """Run the script; return exit status, stdout and the lines on stderr."""

    def run(url, *, version="v1", sha256=""):
        target = tmp_path / "kept/benchmark_model"
        target.parent.mkdir(exist_ok=True)
        done = subprocess.run(
            [SCRIPT, version, target],
            env=os.environ | {"HARNESS_URL": url, "HARNESS_SHA256": sha256},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr.splitlines()

    return run


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "kept").iterdir())


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck: apt-get install shellcheck")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_without_a_network_one_line_says_so(get, tmp_path):
    status, stdout, lines = get("http://127.0.0.1:1/nothing")
    assert (status, stdout, len(lines)) == (1, "", 1)
    assert lines[0].startswith("get_harness.sh: cannot download http://127.0.0.1:1/nothing (")
    assert kept(tmp_path) == []


def test_nothing_is_kept_before_its_checksum_is_confirmed(get, address, tmp_path):
    digest = hashlib.sha256(PROGRAM).hexdigest()
    status, _, lines = get(f"{address}/program")
    assert (status, len(lines)) == (1, 1)
    assert f"HARNESS_SHA256={digest}" in lines[0]
    assert kept(tmp_path) == []
    status, stdout, lines = get(f"{address}/program", sha256=digest)
    assert (status, stdout, lines) == (0, f"{tmp_path}/kept/benchmark_model\n", [])
    assert kept(tmp_path) == ["benchmark_model"]
    assert (tmp_path / "kept/benchmark_model").read_bytes() == PROGRAM
    assert os.access(tmp_path / "kept/benchmark_model", os.X_OK)


@pytest.mark.parametrize(
    ("file", "sha256", "said"),
    [
        pytest.param("program", "0" * 64, "instead of 0000", id="another-checksum"),
        pytest.param("page", "", "what came is no program", id="no-program"),
        pytest.param("missing", "", "cannot download", id="missing"),
    ],
)
def test_what_is_not_it_is_not_kept(get, address, tmp_path, file, sha256, said):
    status, _, lines = get(f"{address}/{file}", sha256=sha256)
    assert (status, len(lines)) == (1, 1)
    assert said in lines[0]
    assert kept(tmp_path) == []


def test_a_version_that_is_none_is_refused(get):
    status, _, lines = get("http://127.0.0.1:1/nothing", version="v3")
    assert (status, lines) == (2, ["get_harness.sh: v3: no such harness; say v1 or v2"])
