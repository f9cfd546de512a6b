"""The real adb and a phone that misbehaves: which one is meant, what it answers, whether it is still there."""

import subprocess

import hypothesis
import pytest
from hypothesis import strategies

from tfseg.bench import adb as client
from tfseg.bench.adb import Device, LateError, LostError
from tfseg.errors import InputError, WorkError

REMOTE = "/data/local/tmp/file"
HEAD = "List of devices attached\n"


def answered(stdout="", *, stderr="", status=0):
    return subprocess.CompletedProcess([], status, stdout, stderr)


@pytest.mark.parametrize(
    ("listed", "serial", "said"),
    [
        pytest.param("", None, "no phone: connect one", id="none"),
        pytest.param("A1 device product:a\nB2 device\n", None, "2 devices: choose one of A1, B2 with", id="several"),
        pytest.param("A1 device\n", "B2", "B2: no such device; `adb devices` lists A1", id="another"),
        pytest.param("A1 unauthorized usb:1-1\n", None, "A1: unauthorized: unlock the phone", id="unauthorized"),
        pytest.param("A1 offline usb:1-1\n", None, "A1: offline: pull the cable", id="offline"),
        pytest.param(
            "A1                     no permissions (user in plugdev group; are your udev rules wrong?); see [http://x]"
            " usb:1-1\n",
            None,
            "A1: no permissions: .*udev rules",
            id="no-permissions",
        ),
        pytest.param("emulator-5554 device product:sdk\n", None, "emulator-5554: an emulator", id="emulator"),
        pytest.param("A1\trecovery\n", None, "A1: recovery: start Android", id="recovery"),
    ],
)
def test_a_phone_that_cannot_be_used_has_its_own_message(listed, serial, said):
    with pytest.raises(InputError, match=said) as caught:
        client.pick(answered(f"* daemon started successfully\n{HEAD}{listed}\n"), serial)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_start_is_told():
    with pytest.raises(InputError, match="cannot bind to 0"):
        client.pick(answered(stderr="error: cannot bind to 0\n", status=1), None)


def test_the_phone_that_was_named_is_taken():
    assert client.pick(answered(f"{HEAD}A1 device\nB2 device\nC3 offline\n"), "B2") == "B2"
    assert client.pick(answered(f"{HEAD}A1 device\n"), None) == "A1"


def test_no_adb_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="adb: not found; install it"):
        client.choose()


def test_one_phone_is_found_and_two_are_asked_about(plug):
    first = plug()
    assert client.choose().serial == first.serial
    second = plug()
    with pytest.raises(InputError, match="2 devices: choose one of"):
        client.choose()
    assert client.choose(second.serial).serial == second.serial


def test_a_phone_that_accepted_no_key_is_unauthorized(plug):
    serial = plug(unauthorized=True).serial
    with pytest.raises(InputError, match=f'{serial}: unauthorized: unlock the phone and accept "Allow USB debugging'):
        client.choose()


def test_a_phone_whose_cable_was_pulled_is_offline(phone):
    phone.process.kill()
    phone.process.wait()
    device = Device(adb="adb", serial=phone.serial)
    with pytest.raises(LostError):
        client.shell(device, ["true"])
    with pytest.raises(InputError, match=f"{phone.serial}: offline: pull the cable"):
        client.choose()


@pytest.fixture(params=["shell v2", "plain shell"])
def device(request, plug):
    plug(plain_shell=request.param == "plain shell")
    return client.choose()


def test_a_command_tells_output_and_exit_status(device):
    answer = client.shell(device, ["sh", "-c", "echo one; echo two; exit 3"])
    assert (answer.status, answer.stdout) == (3, "one\ntwo\n")
    with pytest.raises(WorkError, match="exit status 3"):
        client.ask(device, ["sh", "-c", "exit 3"])
    with pytest.raises(WorkError, match="nowhere: No such file or directory"):
        client.ask(device, ["cat", "nowhere"])


@pytest.mark.parametrize(
    "word",
    [
        "$(touch made)",
        "`touch made`",
        "; touch made",
        "a' ; touch made ; '",
        '" && touch made || "',
        "a\ntouch made",
        "| touch made > made",
        "*",
        "~",
        "--help",
        "-e \\n",
        "",
    ],
)
def test_a_word_from_outside_is_no_command(phone, word):
    answer = client.shell(client.choose(), ["printf", "%s", word])
    assert (answer.status, answer.stdout) == (0, word)
    assert phone.files() == []


# Not of the fixture that each example would need anew; CR LF is what old phones write for LF, and NUL ends a word.
@hypothesis.settings(max_examples=20, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    words=strategies.lists(
        strategies.text(strategies.characters(exclude_characters="\r\0", codec="utf-8"), max_size=40), max_size=4
    )
)
def test_any_word_arrives_as_it_is(phone, words):
    answer = client.shell(client.choose(), ["printf", "<%s>", *words])
    assert answer.stdout == ("".join(f"<{word}>" for word in words) or "<>")


def test_files_go_and_come_byte_for_byte(device, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(bytes(range(256)) * 2000)
    client.push(device, {REMOTE: here})
    assert client.pull(device, REMOTE, back)
    assert back.read_bytes() == here.read_bytes()
    assert not client.pull(device, REMOTE + "2", back)


def test_a_file_that_is_there_is_not_sent_again(phone, tmp_path):
    here, there = tmp_path / "here", phone.root / "data/local/tmp/file"
    here.write_bytes(b"one")
    client.push(client.choose(), {REMOTE: here})
    sent = there.stat().st_ino, there.stat().st_mtime_ns
    client.push(client.choose(), {REMOTE: here})
    assert (there.stat().st_ino, there.stat().st_mtime_ns) == sent
    there.write_bytes(b"two")
    client.push(client.choose(), {REMOTE: here})
    assert there.read_bytes() == b"one"


def test_a_full_phone_is_told(plug, tmp_path):
    plug(full=True)
    (tmp_path / "here").write_bytes(bytes(100_000))
    with pytest.raises(WorkError, match="no space left for here; free some on the phone"):
        client.push(client.choose(), {REMOTE: tmp_path / "here"})


def test_a_file_that_arrives_damaged_is_told(plug, tmp_path):
    plug(damages=True)
    (tmp_path / "here").write_bytes(b"one")
    with pytest.raises(WorkError, match="here arrived damaged; try another cable"):
        client.push(client.choose(), {REMOTE: tmp_path / "here"})


def test_a_phone_unplugged_in_mid_transfer_comes_back(plug, tmp_path):
    plug(unplug_in_transfer=300_000, back_after=0.5)
    device = client.choose()
    (tmp_path / "here").write_bytes(bytes(1_000_000))
    with pytest.raises(LostError):
        client.push(device, {REMOTE: tmp_path / "here"})
    assert client.back_within(device, 8)  # by itself adb tries again after ten
    client.push(device, {REMOTE: tmp_path / "here"})
    assert client.pull(device, REMOTE, tmp_path / "back")
    assert (tmp_path / "back").stat().st_size == 1_000_000


def test_a_phone_that_stays_away_is_given_up(phone):
    device = client.choose()
    phone.process.kill()
    phone.process.wait()
    assert not client.back_within(device, 1)


def test_a_command_that_hangs_is_given_up(phone):
    device = client.choose()
    with pytest.raises(LateError, match=r"no answer within 0\.5 s"):
        # A loop that ends by itself: nothing is left behind, whatever becomes of the phone.
        client.shell(device, ["sh", "-c", "i=0; while [ $i -lt 9000000 ]; do i=$((i+1)); done"], limit_s=0.5)
