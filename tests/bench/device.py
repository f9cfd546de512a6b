"""A phone that is not there: speaks ADB's transport protocol over TCP and runs commands in a sandbox folder.

    python tests/bench/device.py FOLDER        # prints "port N" once it listens; then: adb connect 127.0.0.1:N

FOLDER becomes the phone: /data/local/tmp and /sys/class/thermal lie in it, getprop, dumpsys and settings read and write
its state/, and FOLDER/faults.json says what is wrong with it (see `Faults`), read again whenever it matters. Its own
localhost is 127.0.0.2, where `adb reverse` makes it listen. A program called benchmark_model that was pushed is run by
benchmark_model.py beside this file. The protocol is the one that packages/modules/adb/protocol.txt and SYNC.TXT of the
Android sources describe.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

VERSION, MAX_DATA = 0x01000001, 256 * 1024  # since this version nobody checks the checksums
TOKEN, PUBLIC_KEY = 1, 3  # of AUTH
STDOUT, STDERR, EXIT = 1, 2, 3  # packets of shell v2
CHUNK = 32 * 1024
LOCALHOST = "127.0.0.2"  # the phone's: another machine's in reality, so its ports are not ours

PROPERTIES = {
    "ro.serialno": "0123456789ABCDEF",
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Stand-in 5",
    "ro.soc.manufacturer": "Example",
    "ro.soc.model": "S1",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
}
# What Android's own programs do with the phone's state, as far as anyone here asks.
PROGRAMS = {
    "getprop": 'cat "$PHONE/state/properties"',
    "df": """
        printf 'Filesystem 1K-blocks Used Available Use%% Mounted on\\n'
        printf '/dev/block/dm-44 115000000 9 %s 1%% /data\\n' "$(cat "$PHONE/state/free_kb")"
    """,
    "dumpsys": """
        case "$1" in
        battery)
            tenths=$(cat "$PHONE/state/battery_tenths"); floor=$(cat "$PHONE/state/battery_floor_tenths")
            printf 'Current Battery Service state:\\n  AC powered: false\\n  USB powered: true\\n  level: 87\\n'
            printf '  scale: 100\\n  voltage: 4301\\n  temperature: %s\\n  technology: Li-ion\\n' "$tenths"
            [ "$tenths" -gt "$floor" ] && echo $((tenths - 20)) > "$PHONE/state/battery_tenths"
            true ;;
        power) printf 'POWER MANAGER (dumpsys power)\\n  mWakefulness=%s\\n' "$(cat "$PHONE/state/wakefulness")" ;;
        esac
    """,
    "settings": """
        file="$PHONE/state/settings/$3"
        case "$1" in
        get) cat "$file" 2>/dev/null || echo null ;;
        put) echo "$4" > "$file" ;;
        delete) rm -f "$file" ;;
        esac
    """,
    "cmd": """
        [ "$1 $2" = "connectivity airplane-mode" ] || exit 1
        [ "$3" = enable ] && value=1 || value=0
        echo "$value" > "$PHONE/state/settings/airplane_mode_on"
    """,
    "input": """
        [ "$2" = KEYCODE_WAKEUP ] && state=Awake || state=Asleep
        echo "$state" > "$PHONE/state/wakefulness"
    """,
}
PROGRAMS["am"] = """
    [ -e "$PHONE/state/no_browser" ] && echo "Error: Activity not started, unable to resolve Intent" && exit 0
    echo "$@" >> "$PHONE/state/opened"
    echo "Starting: Intent { act=$3 dat=$5 }"
"""
HOST_PROGRAMS = ("sh", "cat", "ls", "mkdir", "rm", "chmod", "sha256sum", "printf", "touch")


@dataclasses.dataclass
class Faults:
    """What is wrong with the phone.

    Attributes:
        unauthorized: nobody has accepted this computer's key.
        plain_shell: as before Android 7, one stream with CR LF and no exit status.
        full: no byte can be written.
        damages: the first byte of what arrives is another one.
        unplug_in_transfer: bytes of a push after which the cable is pulled, once.
        unplug_in_run: seconds into a benchmark after which the cable is pulled, once.
        unplug_at_run: which benchmark of the phone's life that is, from 1.
        back_after: seconds until the cable is in again; None for never.
        run: what benchmark_model.py reads, such as {"gpu": "none"}.
    """

    unauthorized: bool = False
    plain_shell: bool = False
    full: bool = False
    damages: bool = False
    unplug_in_transfer: int | None = None
    unplug_in_run: float | None = None
    unplug_at_run: int = 1
    back_after: float | None = None
    run: dict[str, object] = dataclasses.field(default_factory=dict)


def make_phone(root: Path) -> None:
    """Lay out a healthy phone in an empty folder."""
    for folder in ("bin", "data/local/tmp", "sys/class/thermal", "state/settings"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "state/properties").write_text("".join(f"[{name}]: [{value}]\n" for name, value in PROPERTIES.items()))
    for name, value in (("free_kb", 9_000_000), ("battery_tenths", 271), ("battery_floor_tenths", 271)):
        (root / "state" / name).write_text(f"{value}\n")
    (root / "state/wakefulness").write_text("Awake\n")
    (root / "state/settings/airplane_mode_on").write_text("0\n")
    for number, (kind, millidegrees) in enumerate((("battery", 27100), ("cpu-0-0", 31500), ("gpu", 30200))):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir()
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{millidegrees}\n")
    for name, text in PROGRAMS.items():
        program = root / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    for name in HOST_PROGRAMS:
        found = next(path for folder in ("/bin", "/usr/bin") if (path := Path(folder, name)).exists())
        (root / "bin" / name).symlink_to(found)


class Phone:
    """A phone's life: its sandbox, and its one connection to an ADB server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self.listener: socket.socket | None = None
        self.link: Link | None = None
        self.runs = 0
        self.pulled: set[str] = set()  # faults that happen once

    @property
    def faults(self) -> Faults:
        """What is wrong at this moment."""
        path = self.root / "faults.json"
        return Faults(**json.loads(path.read_text())) if path.exists() else Faults()

    def plug(self) -> None:
        """Listen; the port stays the same over the phone's life."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def unplug(self, fault: str) -> None:
        """Pull the cable; it goes in again after `back_after`. A fault pulls it once."""
        if fault in self.pulled:
            return
        self.pulled.add(fault)
        listener, link, self.listener, self.link = self.listener, self.link, None, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if link:
            link.close()
        if self.faults.back_after is not None:
            threading.Timer(self.faults.back_after, self.plug).start()

    def _accept(self, listener: socket.socket) -> None:
        while self.listener is listener:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.link = Link(self, connection)
            threading.Thread(target=self.link.serve, daemon=True).start()


class Link:
    """One connection: messages of 24 bytes and a payload, shared by many streams."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self.phone = phone
        self.connection = connection
        self.writing = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.ways: dict[str, socket.socket] = {}  # of `adb reverse`: the phone's "tcp:PORT", and what listens there
        self.processes: set[subprocess.Popen[bytes]] = set()

    def send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        """Send one message."""
        number = int.from_bytes(command, "little")
        header = struct.pack("<6I", number, first, second, len(payload), 0, number ^ 0xFFFFFFFF)
        with self.writing:
            self.connection.sendall(header + payload)

    def serve(self) -> None:
        """Answer until the connection ends."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                number, first, second, size, _, _ = struct.unpack("<6I", self._read(24))
                self._handle(number.to_bytes(4, "little"), first, second, self._read(size))
        self.close()

    def close(self) -> None:
        """End all that hangs on the cable."""
        for stream in list(self.streams.values()):
            stream.end()
        for way in list(self.ways):
            self.block(way)
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def lead(self, way: str, target: str) -> None:
        """Listen at the phone's `way`; whoever connects there is led to the computer's `target`."""
        listener = socket.create_server((LOCALHOST, int(way.removeprefix("tcp:"))))
        self.ways[way] = listener

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    stream = Stream(self, len(self.streams) + 1, 0)
                    self.streams[stream.own] = stream
                    threading.Thread(target=stream.carry, args=(connection, target), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def block(self, way: str) -> None:
        """Listen there no longer."""
        listener = self.ways.pop(way)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _handle(self, command: bytes, first: int, second: int, payload: bytes) -> None:
        faults = self.phone.faults
        if command == b"CNXN":
            if faults.unauthorized:
                self.send(b"AUTH", TOKEN, 0, os.urandom(20))
            else:
                features = "cmd" if faults.plain_shell else "shell_v2,cmd,stat_v2"
                banner = f"device::ro.product.model={PROPERTIES['ro.product.model']};features={features}"
                self.send(b"CNXN", VERSION, MAX_DATA, banner.encode())
        elif command == b"AUTH" and first != PUBLIC_KEY:  # a signature: of a key that nobody accepted
            self.send(b"AUTH", TOKEN, 0, os.urandom(20))
        elif command == b"OPEN":
            stream = Stream(self, len(self.streams) + 1, first)
            self.streams[stream.own] = stream
            service = payload.rstrip(b"\0").decode()
            threading.Thread(target=stream.serve, args=(service,), daemon=True).start()
        elif command in (b"OKAY", b"WRTE", b"CLSE") and (stream := self.streams.get(second)):
            stream.hear(command, first, payload)


class Stream:
    """One service: a shell command or a file transfer."""

    def __init__(self, link: Link, own: int, other: int) -> None:
        self.link, self.own, self.other = link, own, other
        self.ready = threading.Semaphore(0)  # the other side may get another payload
        self.heard: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None ends it
        self.rest = b""
        self.ended = False

    def hear(self, command: bytes, other: int, payload: bytes) -> None:
        """Take a message of the other side."""
        self.other = self.other or other  # of a stream that we opened
        if command == b"OKAY":
            self.ready.release()
        elif command == b"WRTE":
            self.heard.put(payload)
            self.link.send(b"OKAY", self.own, self.other)
        else:
            self.end()

    def end(self) -> None:
        """Let whoever waits go."""
        self.ended = True
        self.heard.put(None)
        self.ready.release()

    def write(self, data: bytes) -> None:
        """Send data, each payload after the last one was acknowledged."""
        for start in range(0, len(data), CHUNK):
            self.link.send(b"WRTE", self.own, self.other, data[start : start + CHUNK])
            self.ready.acquire()
            if self.ended:
                raise EOFError

    def read(self, size: int) -> bytes:
        """Wait for so many bytes."""
        while len(self.rest) < size:
            data = self.heard.get()
            if data is None:
                raise EOFError
            self.rest += data
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def serve(self, service: str) -> None:
        """Run a service to its end."""
        name, _, argument = service.partition(":")
        with contextlib.suppress(OSError, EOFError):
            if name.split(",")[0] == "shell":
                self.link.send(b"OKAY", self.own, self.other)
                self._shell(argument, v2="v2" in name.split(","))
            elif name == "sync":
                self.link.send(b"OKAY", self.own, self.other)
                self._sync()
            elif name == "reverse":
                self.link.send(b"OKAY", self.own, self.other)
                self._reverse(argument)
            self.link.send(b"CLSE", self.own, self.other)

    def carry(self, connection: socket.socket, target: str) -> None:
        """Carry what goes through a connection of the phone's to and from a service of the computer's."""

        def outwards() -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := connection.recv(CHUNK):
                    self.write(data)
                self.link.send(b"CLSE", self.own, self.other)

        with contextlib.suppress(OSError), connection:
            self.link.send(b"OPEN", self.own, 0, f"{target}\0".encode())
            self.ready.acquire()
            threading.Thread(target=outwards, daemon=True).start()
            while (data := self.heard.get()) is not None:
                connection.sendall(data)
            connection.shutdown(socket.SHUT_RDWR)

    def _reverse(self, argument: str) -> None:
        """Set, list and take back ways; adbd's answer is that of adb's own server, less its first OKAY."""
        link = self.link
        action, _, rest = argument.partition(":")
        if action == "list-forward":
            text = "".join(f"UsbFfs {way} {way}\n" for way in link.ways).encode()
            self.write(b"%04x" % len(text) + text)
        elif action == "forward":
            way, _, target = rest.removeprefix("norebind:").partition(";")
            if rest.startswith("norebind:") and way in link.ways:
                self._refuse(b"cannot rebind existing socket")
                return
            try:
                link.lead(way, target)
            except OSError as error:
                self._refuse(f"cannot bind listener: {error.strerror}".encode())
                return
            self.write(b"OKAY")
        elif action == "killforward" and rest in link.ways:
            link.block(rest)
            self.write(b"OKAY")
        else:
            self._refuse(b"listener '%s' not found" % rest.encode())

    def _refuse(self, reason: bytes) -> None:
        self.write(b"FAIL%04x" % len(reason) + reason)

    def _shell(self, command: str, *, v2: bool) -> None:
        phone = self.link.phone
        benchmark = re.search(r"/benchmark_model'? '?--", command) and "--help" not in command
        if benchmark:
            phone.runs += 1
            (phone.root / "state/runs").write_text(str(phone.runs))
            faults = phone.faults
            if faults.unplug_in_run is not None and phone.runs == faults.unplug_at_run:
                threading.Timer(faults.unplug_in_run, phone.unplug, ("run",)).start()
        process = subprocess.Popen(
            [phone.root / "bin/sh", "-c", inside(command, phone.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            env={"PATH": f"{phone.root}/bin", "PHONE": str(phone.root)},
            cwd=phone.root / "data/local/tmp",
            start_new_session=True,
        )
        self.link.processes.add(process)
        writing = threading.Lock()

        def pump(kind: int, pipe: int) -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := os.read(pipe, CHUNK):
                    with writing:
                        framed = struct.pack("<BI", kind, len(data)) + data if v2 else data.replace(b"\n", b"\r\n")
                        self.write(framed)

        pipes = [(STDOUT, process.stdout), (STDERR, process.stderr)]
        pumps = [threading.Thread(target=pump, args=(kind, pipe.fileno())) for kind, pipe in pipes if pipe]
        for thread in pumps:
            thread.start()
        for thread in pumps:
            thread.join()
        status = process.wait()
        self.link.processes.discard(process)
        for _, pipe in pipes:
            if pipe:
                pipe.close()
        if v2:
            self.write(struct.pack("<BIB", EXIT, 1, status & 0xFF))

    def _sync(self) -> None:
        while True:
            request, size = struct.unpack("<4sI", self.read(8))
            argument = self.read(size).decode()
            if request == b"QUIT":
                return
            path = Path(inside(argument.rpartition(",")[0] if request == b"SEND" else argument, self.link.phone.root))
            if request in (b"STAT", b"STA2", b"LST2"):
                self.write(described(request, path))
            elif request == b"SEND":
                self._receive(path)
            elif request == b"RECV":
                self._give(path)

    def _receive(self, path: Path) -> None:
        phone = self.link.phone
        faults, taken = phone.faults, 0
        path.unlink(missing_ok=True)
        if faults.full:
            self._fail(b"write failed: No space left on device")
        while True:
            kind, size = struct.unpack("<4sI", self.read(8))
            if kind == b"DONE":
                break
            data = self.read(size)
            if faults.full:
                continue
            with path.open("ab") as file:
                file.write(b"?" + data[1:] if faults.damages else data)
            taken += size
            if faults.unplug_in_transfer is not None and taken >= faults.unplug_in_transfer:
                phone.unplug("transfer")
        if not faults.full:
            path.touch()
            self.write(struct.pack("<4sI", b"OKAY", 0))

    def _give(self, path: Path) -> None:
        if not path.is_file():
            self._fail(b"No such file or directory")
            return
        content = path.read_bytes()
        for start in range(0, len(content), CHUNK):
            part = content[start : start + CHUNK]
            self.write(struct.pack("<4sI", b"DATA", len(part)) + part)
        self.write(struct.pack("<4sI", b"DONE", 0))

    def _fail(self, reason: bytes) -> None:
        self.write(struct.pack("<4sI", b"FAIL", len(reason)) + reason)


def inside(text: str, root: Path) -> str:
    """Move the phone's paths into the sandbox, and have its harness run by ours."""
    text = text.replace("/data/local/tmp", f"{root}/data/local/tmp")
    text = text.replace("/sys/class/thermal", f"{root}/sys/class/thermal")
    harness = f"{sys.executable} -I {Path(__file__).with_name('benchmark_model.py')} {root}"
    return re.sub(r"(?<=[\s'])(\S+/benchmark_model)(?= '?--)", rf"{harness} \1", f" {text}")[1:]


def described(request: bytes, path: Path) -> bytes:
    """Answer what kind of file `path` is: the old form, or the one with 64 bits."""
    about = path.stat() if path.exists() else None
    mode, size, changed = (about.st_mode, about.st_size, int(about.st_mtime)) if about else (0, 0, 0)
    if request == b"STAT":
        return struct.pack("<4s3I", request, mode, size, changed)
    missing = 0 if about else 2  # ENOENT
    return struct.pack("<4sIQQ4IQ3q", request, missing, 1, 1, mode, 1, 0, 0, size, 0, changed, 0)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path)
    root = parser.parse_args().root.resolve()
    if not (root / "bin").exists():
        make_phone(root)
    phone = Phone(root)
    phone.plug()
    print(f"port {phone.port}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
