"""A phone before, during and after a measurement: what it is, how warm, how full, and what we change and put back."""

import contextlib
import dataclasses
import hashlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from tfseg.bench import adb
from tfseg.bench.adb import Device
from tfseg.errors import InputError, WorkError

FOLDER = "/data/local/tmp"  # the one place where a program may be put and run without root
ZONES = "/sys/class/thermal"
# Phones slow down from a skin of about 40 degrees Celsius on; a battery that is cooler than this keeps clear of it.
HOT_C = 38.0
# Sensors tell tenths (battery) and whole degrees (many zones), and an idle CPU's own zones wander by a few.
BATTERY_MARGIN_C, ZONE_MARGIN_C = 1.0, 4.0
_AWAKE = 7  # stay_on_while_plugged_in: by charger, USB or wireless


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phone:
    """What a phone says of itself.

    Attributes:
        device: how to reach it.
        name: maker and model.
        device_id: eight hex digits of its serial number's hash.
        soc: maker and model of its chip, or its board's name.
        android: version and API level.
        abis: instruction sets that it runs, best first.
    """

    device: Device
    name: str
    device_id: str
    soc: str
    android: str
    abis: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temperature:
    """Degrees Celsius of the battery and of the hottest thermal zone; None where the phone does not tell."""

    battery_c: float | None
    zone_c: float | None


def inspect(device: Device) -> Phone:
    """Ask a phone what it is.

    Raises:
        InputError: it is an emulator.
    """
    lines = adb.ask(device, ["getprop"])
    properties = dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*)\]$", lines, re.MULTILINE))
    if "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")):
        raise InputError(adb.emulator(device.serial))
    serial = properties.get("ro.serialno") or device.serial  # a phone on the network changes its address
    maker, model = properties.get("ro.product.manufacturer", ""), properties.get("ro.product.model", "unknown phone")
    soc = f"{properties.get('ro.soc.manufacturer', '')} {properties.get('ro.soc.model', '')}".strip()
    version, level = properties.get("ro.build.version.release", "?"), properties.get("ro.build.version.sdk", "?")
    return Phone(
        device=device,
        name=model if model.lower().startswith(maker.lower()) else f"{maker} {model}",
        device_id=hashlib.sha256(serial.encode()).hexdigest()[:8],
        soc=soc or properties.get("ro.board.platform") or properties.get("ro.hardware") or "unknown",
        android=f"{version} (API {level})",
        abis=tuple(properties.get("ro.product.cpu.abilist", "").split(",")),
    )


def temperature(device: Device) -> Temperature:
    """Read the battery's temperature, and the hottest of the thermal zones that may be read."""
    words = ["sh", "-c", 'dumpsys battery; cat "$0"/thermal_zone*/temp 2>/dev/null', ZONES]  # some zones are forbidden
    said = adb.shell(device, words).stdout
    battery = re.search(r"^\s*temperature: (-?\d+)\s*$", said, re.MULTILINE)
    degrees = [int(text) / 1000 for text in re.findall(r"^(-?\d{4,7})$", said, re.MULTILINE)]
    plausible = [value for value in degrees if 0 < value < 150]  # others stand for sensors that are not there
    return Temperature(battery_c=int(battery[1]) / 10 if battery else None, zone_c=max(plausible, default=None))


def too_warm(now: Temperature, reference: Temperature) -> str:
    """Return what is warmer than it was at the start, or than a phone should be; "" if nothing is."""
    if now.battery_c is not None and reference.battery_c is not None:
        target = min(reference.battery_c, HOT_C) + BATTERY_MARGIN_C
        if now.battery_c > target:
            return f"the battery at {now.battery_c:.1f} °C instead of {target:.1f} °C at most"
    if now.zone_c is not None and reference.zone_c is not None and now.zone_c > reference.zone_c + ZONE_MARGIN_C:
        return f"a thermal zone at {now.zone_c:.1f} °C instead of {reference.zone_c + ZONE_MARGIN_C:.1f} °C at most"
    return ""


def cool_down(
    device: Device, reference: Temperature, *, limit_s: float, poll_s: float, tell: Callable[[str], None]
) -> tuple[Temperature, str]:
    """Wait until the phone is as cool as `reference`, or for `limit_s`.

    Returns:
        Its temperature now, and what is still too warm, or "".
    """
    deadline = time.monotonic() + limit_s
    told = False
    while True:
        now = temperature(device)
        warm = too_warm(now, reference)
        if warm and not told:
            tell(f"cooling down: {warm}; waiting for {limit_s:g} s at most")
            told = True
        if not warm or time.monotonic() >= deadline:
            return now, warm
        time.sleep(min(poll_s, max(deadline - time.monotonic(), 0)))


def free_mb(device: Device) -> float | None:
    """Return how many MB are free where we put our files, or None where the phone's `df` is too old to tell."""
    answer = adb.shell(device, ["df", "-k", FOLDER])
    header, _, rest = answer.stdout.partition("\n")
    columns, values = header.split(), rest.split()
    if answer.status or "Available" not in columns or len(values) < len(columns) - 1:
        return None
    available = values[columns.index("Available")]
    return int(available) / 1024 if available.isdigit() else None


def state(device: Device) -> str:
    """Say whether the screen is on and whether the phone is in airplane mode: both bear on what is measured."""
    screen = "on" if _awake(device) else "off"
    radios = "on" if _setting(device, "airplane_mode_on") == "1" else "off"
    return f"screen {screen}, airplane mode {radios}"


@contextlib.contextmanager
def prepared(device: Device, tell: Callable[[str], None]) -> Iterator[None]:
    """Wake the screen, keep it on and silence the radios; put all of it back, also after Ctrl-C.

    A phone on the network keeps its radios: they are the cable.

    Args:
        device: the phone.
        tell: told what could not be put back because the phone is gone.
    """
    stay = _setting(device, "stay_on_while_plugged_in")
    key = ("global", "stay_on_while_plugged_in")
    changes = [
        (
            ["settings", "put", *key, str(_AWAKE)],
            ["settings", "delete", *key] if stay == "null" else ["settings", "put", *key, stay],
        )
    ]
    if not _awake(device):
        changes.append((["input", "keyevent", "KEYCODE_WAKEUP"], ["input", "keyevent", "KEYCODE_SLEEP"]))
    if _setting(device, "airplane_mode_on") != "1" and not adb.on_network(device):
        airplane = ("cmd", "connectivity", "airplane-mode")  # since Android 11
        changes.append(([*airplane, "enable"], [*airplane, "disable"]))
    with contextlib.ExitStack() as stack:
        for change, back in changes:
            stack.callback(_put_back, device, back, tell)
            adb.ask(device, change)
        yield


def _put_back(device: Device, words: Sequence[str], tell: Callable[[str], None]) -> None:
    with undisturbed():
        try:
            adb.ask(device, words)
        except WorkError as error:
            tell(f"not put back: {' '.join(words)} ({error})")


@contextlib.contextmanager
def own_folder(device: Device, name: str, tell: Callable[[str], None]) -> Iterator[PurePosixPath]:
    """Make a folder of our own on the phone and remove it with all it holds, also after Ctrl-C.

    Args:
        device: the phone.
        name: eight hex digits that no other folder has.
        tell: told where the folder stays behind because the phone is gone.
    """
    if not re.fullmatch(r"[0-9a-f]{8}", name):
        raise ValueError(f"{name!r} is no name of ours: eight hex digits")
    folder = PurePosixPath(FOLDER, f"tfseg-{name}")
    try:
        adb.ask(device, ["mkdir", str(folder)])
        yield folder
    finally:
        with undisturbed():
            try:
                adb.ask(device, ["rm", "-rf", str(folder)])
            except WorkError as error:
                tell(f"{folder} is still on the phone ({error}); remove it: adb shell rm -r {folder}")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C while something is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _awake(device: Device) -> bool:
    return "mWakefulness=Awake" in adb.ask(device, ["dumpsys", "power"])


def _setting(device: Device, name: str) -> str:
    return adb.ask(device, ["settings", "get", "global", name]).strip()
