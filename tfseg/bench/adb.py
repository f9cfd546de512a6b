"""The real `adb`, called with lists of arguments: which phone, what it answers, and whether it is still there.

What goes through the phone's shell is a list of words, each quoted; no name from outside becomes a command. The
environment is adb's own business: ANDROID_ADB_SERVER_PORT and the like reach it untouched.
"""

import dataclasses
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfseg.errors import InputError, WorkError
from tfseg.runs import sha256

CALL_S = 60.0  # for a call that does no work of its own
TRANSFER_S = 600.0
POLL_S = 0.5
_MARK = "tfseg-exit="  # old phones tell no exit status, and a connection that broke must not look like success
_STATES = {
    "unauthorized": 'unlock the phone and accept "Allow USB debugging?", then try again',
    "authorizing": 'unlock the phone and accept "Allow USB debugging?", then try again',
    "offline": "pull the cable out and in again (a phone on the network: `adb disconnect`, then `adb connect`)",
    "connecting": "wait until `adb devices` calls it a device, then try again",
    "no permissions": "this user may not open the USB device: install the udev rules (Debian: "
    "android-sdk-platform-tools-common), join the group plugdev, then run `adb kill-server`",
}


class LostError(WorkError):
    """The phone is not there any more: unplugged, offline, or its connection broke."""


class LateError(WorkError):
    """The phone did not answer in time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """A phone as `adb` names it: the program to call, and the phone's serial number or host:port."""

    adb: str
    serial: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command on the phone printed, with LF for CR LF, and its exit status."""

    status: int
    stdout: str
    stderr: str


def choose(serial: str | None = None) -> Device:
    """Return the one phone that is connected, or the one with that serial number.

    Raises:
        InputError: there is no adb, no phone, more than one, or it is in no state to be used.
    """
    adb = shutil.which("adb")
    if adb is None:
        raise InputError("adb: not found; install it (Debian: apt-get install adb) or put its folder on PATH")
    return Device(adb=adb, serial=pick(_call(adb, ["devices", "-l"], CALL_S), serial))


def pick(answer: subprocess.CompletedProcess[str], serial: str | None) -> str:
    """Return the serial number of the phone to use, from what `adb devices -l` answered.

    Raises:
        InputError: see `choose`.
    """
    if answer.returncode:
        raise InputError(f"adb: {_last(answer.stderr) or 'its server does not start'}; try `adb devices` by hand")
    _, _, listed = answer.stdout.partition("List of devices attached")
    found = dict(_state(line) for line in listed.splitlines() if line.strip() and not line.startswith("*"))
    if serial is None:
        if not found:
            raise InputError("no phone: connect one by USB, with USB debugging on in its developer options")
        if len(found) > 1:
            raise InputError(f"{len(found)} devices: choose one of {', '.join(found)} with --serial")
        serial = next(iter(found))
    if serial not in found:
        raise InputError(f"{serial}: no such device; `adb devices` lists {', '.join(found) or 'none'}")
    if serial.startswith("emulator-"):
        raise InputError(emulator(serial))
    if found[serial] != "device":
        remedy = _STATES.get(found[serial], "start Android on it, then try again")
        raise InputError(f"{serial}: {found[serial]}: {remedy}")
    return serial


def emulator(serial: str) -> str:
    """Return why an emulator is refused."""
    return f"{serial}: an emulator: its latencies say nothing about a phone; connect one, or choose it with --serial"


def shell(device: Device, words: Sequence[str], *, limit_s: float = CALL_S) -> Answer:
    """Run a command on the phone; each word arrives there as it is.

    Raises:
        LostError: the connection broke, so nobody knows how far the command came.
        LateError: it took longer than `limit_s`; it may still be running there.
    """
    answer = _call(device.adb, ["-s", device.serial, "shell", f"{shlex.join(words)}; echo {_MARK}$?"], limit_s)
    stdout, mark, status = answer.stdout.replace("\r\n", "\n").rpartition(_MARK)
    if not mark or not re.fullmatch(r"\d{1,3}\n", status):
        raise _lost(device, answer)
    return Answer(status=int(status), stdout=stdout, stderr=answer.stderr.replace("\r\n", "\n"))


def ask(device: Device, words: Sequence[str]) -> str:
    """Run a command that must succeed and return what it printed.

    Raises:
        WorkError: it failed, or as `shell`.
    """
    answer = shell(device, words)
    if answer.status:
        said = _last(answer.stderr) or _last(answer.stdout) or f"exit status {answer.status}"
        raise WorkError(f"{device.serial}: {shlex.join(words)}: {said}")
    return answer.stdout


def push(device: Device, files: Mapping[str, Path]) -> None:
    """Have files on the phone, byte for byte; what is there already is not sent again.

    Args:
        device: the phone.
        files: what is to lie where on the phone.

    Raises:
        LostError: the connection broke.
        WorkError: the phone does not take a file, or takes another one.
    """
    wanted = {remote: sha256(local) for remote, local in files.items()}
    there = _remote_sha256(device, list(files))
    missing = [remote for remote in files if there.get(remote) != wanted[remote]]
    for remote in missing:
        _send(device, files[remote], remote)
    there = _remote_sha256(device, missing) if missing else {}
    for remote in missing:
        if there.get(remote) != wanted[remote]:
            raise WorkError(f"{device.serial}: {files[remote].name} arrived damaged; try another cable")


def _send(device: Device, local: Path, remote: str) -> None:
    answer = _call(device.adb, ["-s", device.serial, "push", str(local.resolve()), remote], TRANSFER_S)
    if not answer.returncode:
        return
    refused = re.search(r": remote (.*)", answer.stdout + answer.stderr)  # adb's printer of lines uses stdout
    if refused and "No space left" in refused[1]:
        raise WorkError(f"{device.serial}: no space left for {local.name}; free some on the phone, then try again")
    if refused:
        raise WorkError(f"{device.serial}: does not take {local.name}: {refused[1]}")
    raise _lost(device, answer)


def pull(device: Device, remote: str, local: Path) -> bool:
    """Fetch a file from the phone; return whether there is one.

    Raises:
        LostError: the connection broke.
    """
    answer = _call(device.adb, ["-s", device.serial, "pull", remote, str(local.resolve())], TRANSFER_S)
    if answer.returncode and not re.search("No such file|does not exist", answer.stdout + answer.stderr):
        raise _lost(device, answer)
    return not answer.returncode


def reverse(device: Device, port: int) -> None:
    """Have the phone's own localhost:`port` lead to this computer's, until `unreverse` or until it is unplugged.

    Raises:
        InputError: the port is in use on the phone.
        LostError: the connection broke.
    """
    way = f"tcp:{port}"
    answer = _call(device.adb, ["-s", device.serial, "reverse", "--no-rebind", way, way], CALL_S)
    if answer.returncode and re.search("rebind|in use|cannot bind", answer.stdout + answer.stderr):
        raise InputError(f"{device.serial}: port {port} is in use on the phone; choose another with --port")
    if answer.returncode:
        raise _lost(device, answer)


def unreverse(device: Device, port: int) -> None:
    """Take back `reverse`.

    Raises:
        LostError: the connection broke, and the way with it.
    """
    answer = _call(device.adb, ["-s", device.serial, "reverse", "--remove", f"tcp:{port}"], CALL_S)
    if answer.returncode:
        raise _lost(device, answer)


def back_within(device: Device, limit_s: float) -> bool:
    """Wait for a phone that was lost; return whether it is back. One on the network is called for."""
    deadline = time.monotonic() + limit_s
    while True:
        state = _call(device.adb, ["-s", device.serial, "get-state"], CALL_S)
        if state.stdout.strip() == "device":
            return True
        if time.monotonic() >= deadline:
            return False
        if on_network(device):
            _call(device.adb, ["disconnect", device.serial], CALL_S)  # or adb takes the dead connection for a live one
            _call(device.adb, ["connect", device.serial], CALL_S)
        time.sleep(min(POLL_S, max(deadline - time.monotonic(), 0)))


def on_network(device: Device) -> bool:
    """Whether the phone is reached as host:port instead of by USB."""
    return re.fullmatch(r".+:\d{1,5}", device.serial) is not None


def _remote_sha256(device: Device, paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of those of our files on the phone that exist; no two have one name."""
    answer = shell(device, ["sha256sum", *paths], limit_s=TRANSFER_S)
    if answer.status == 127:
        raise WorkError(f"{device.serial}: has no sha256sum: Android 6 or newer is needed")
    digests = {
        name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (?:.*/)?(.+)$", answer.stdout, re.MULTILINE)
    }
    return {path: digests[name] for path in paths if (name := path.rpartition("/")[2]) in digests}


def _call(adb: str, arguments: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Call adb in a session of its own: Ctrl-C is for us, who then clean up through it."""
    try:
        return subprocess.run(
            [adb, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = arguments[2:] if arguments[0] == "-s" else arguments
        raise LateError(f"adb {' '.join(said)[:80]}: no answer within {limit_s:g} s") from error


def _state(line: str) -> tuple[str, str]:
    """Return serial number and state of a line of `adb devices -l`.

    >>> _state("0123ABCD no permissions (user in plugdev group); see [http://...] usb:1-2")
    ('0123ABCD', 'no permissions')
    """
    serial, *rest = line.split(maxsplit=1)
    state = rest[0] if rest else "unknown"
    return serial, "no permissions" if state.startswith("no permissions") else state.split()[0]


def _lost(device: Device, answer: subprocess.CompletedProcess[str]) -> LostError:
    return LostError(f"{device.serial}: {_last(answer.stderr or answer.stdout) or 'the connection broke'}")


def _last(text: str) -> str:
    """Return the last line that says something, without adb's name for itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^(?:adb: )?error: ", "", lines[-1]) if lines else ""
