"""The way to a phone: its own localhost leads to our server, so the page may use the camera there."""

import contextlib
from collections.abc import Iterator

from tfseg.bench import adb
from tfseg.bench.adb import Device
from tfseg.errors import WorkError


@contextlib.contextmanager
def reached(device: Device, port: int) -> Iterator[None]:
    """Have a phone's localhost:`port` lead to ours, and open the page there; the way is closed afterwards.

    Raises:
        InputError: the port is in use on the phone.
        WorkError: the phone is gone, or opens no page.
    """
    adb.reverse(device, port)
    try:
        url = f"http://localhost:{port}/"
        said = adb.ask(device, ["am", "start", "-a", "android.intent.action.VIEW", "-d", url])
        if "Error" in said:
            raise WorkError(
                f"{device.serial}: opens no page ({said.strip().splitlines()[-1]}); open {url} there by hand"
            )
        yield
    finally:
        with contextlib.suppress(adb.LostError):  # a phone that is unplugged has forgotten it
            adb.unreverse(device, port)
