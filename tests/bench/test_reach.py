"""`tfseg demo --android`: the phone's localhost leads to our server, the page opens there, all is undone at the end."""

import contextlib
import http.client
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tfseg.bench import adb as client
from tfseg.bench.adb import Device
from tfseg.demo import page as pages
from tfseg.demo.page import Answer
from tfseg.demo.phone import reached
from tfseg.demo.server import Server
from tfseg.errors import InputError, WorkError

PHONE = "127.0.0.2"  # the stand-in's localhost


@pytest.fixture
def server():
    with Server("127.0.0.1", 0) as server:
        server.answers = {"/": Answer(path=None, content=b"hello" * 20_000)}
        server.start()
        yield server
        server.shutdown()


@pytest.fixture
def device(phone):
    if sys.platform != "linux":
        pytest.skip("127.0.0.2 is this computer's own only on Linux")
    return Device(adb=client.choose().adb, serial=phone.serial)


def fetch(port):
    """Ask as the phone's browser does."""
    with contextlib.closing(http.client.HTTPConnection(PHONE, port, timeout=20)) as connection:
        connection.request("GET", "/", headers={"Host": f"localhost:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def is_reached(port):
    try:
        fetch(port)
    except OSError:
        return False
    return True


def test_the_phones_localhost_leads_to_the_server_while_it_runs(phone, device, server):
    port = server.server_port
    assert not is_reached(port)
    with reached(device, port):
        for _ in range(3):
            status, body, headers = fetch(port)
            assert (status, body) == (200, b"hello" * 20_000)
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert phone.state("opened") == f"start -a android.intent.action.VIEW -d http://localhost:{port}/"
    assert not is_reached(port)


def test_it_is_undone_when_the_page_does_not_open(phone, device, server):
    phone.state("no_browser", "yes")
    closed = pytest.raises(WorkError, match=r"opens no page .*unable to resolve.*by hand")
    with closed, reached(device, server.server_port):
        raise AssertionError("not reached")
    assert not is_reached(server.server_port)


def test_a_port_that_the_phone_uses_is_told(phone, device, server):
    in_use = pytest.raises(
        InputError, match=f"port {server.server_port} is in use on the phone; choose another with --p"
    )
    with socket.create_server((PHONE, server.server_port)), in_use:  # an app of the phone's
        client.reverse(device, server.server_port)
    client.reverse(device, server.server_port)
    with pytest.raises(InputError, match="is in use on the phone"):  # by somebody's adb reverse
        client.reverse(device, server.server_port)
    client.unreverse(device, server.server_port)


def test_a_phone_that_is_unplugged_meanwhile_is_no_failure(phone, device, server):
    with reached(device, server.server_port):
        phone.process.kill()
        phone.process.wait()


def test_the_command_opens_the_page_and_undoes_it_on_ctrl_c(phone, device, start_tfseg, write_proved, tmp_path):
    try:
        pages.litert(pages.folder())
    except InputError as error:
        pytest.skip(str(error))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clip = Path(tmp_path, "clip.webm")
    clip.write_bytes(b"a clip")
    process = start_tfseg("demo", write_proved(tmp_path / "tiny.tflite"), "--android", "--clip", clip, "--port", port)
    assert process.stdout.readline() == f"http://localhost:{port}/\n"
    status, body, _ = fetch(port)
    assert status == 200
    assert b"<canvas" in body
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert f"{device.serial}: opened http://localhost:{port}/" in stderr
    deadline = time.monotonic() + 5
    while is_reached(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_reached(port)


def test_serial_without_android_and_no_phone_are_told(tfseg, write_proved, tmp_path, adb):
    try:
        pages.litert(pages.folder())
    except InputError as error:
        pytest.skip(str(error))
    file = write_proved(tmp_path / "tiny.tflite")
    assert "--serial goes with --android" in tfseg("demo", file, "--serial", "A1", status=2).stderr
    assert "no phone: connect one" in tfseg("demo", file, "--android", status=2).stderr
