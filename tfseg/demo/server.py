"""The page's server: this computer alone reaches it, and it gives what the page is made of and nothing else."""

import errno
import hashlib
import http.server
import ipaddress
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from tfseg.demo.page import Answer, media_type
from tfseg.errors import InputError

_ISOLATED = {  # what threads in a browser need, and what keeps other pages out
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), display-capture=(self), screen-wake-lock=(self), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked again each time, answered by 304
}


class Server(http.server.ThreadingHTTPServer):
    """A server that listens from the start and answers 503 until `answers` are given."""

    daemon_threads = True
    answers: Mapping[str, Answer] | None = None

    def __init__(self, host: str, port: int) -> None:
        """Listen on a port of an address of this computer; port 0 stands for any free one.

        Raises:
            InputError: the port is taken or not ours to take, or the address is not this computer's.
        """
        if not 0 <= port <= 65535:
            raise InputError(f"--port {port}: a port is a number from 1 to 65535")
        self.host = host
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(
                    f"port {port}: taken, perhaps by another tfseg demo; choose one with --port"
                ) from error
            if error.errno == errno.EACCES:
                raise InputError(
                    f"port {port}: only an administrator may listen there; choose one from 1024"
                ) from error
            raise InputError(f"--host {host}: cannot listen there ({error.strerror})") from error

    @property
    def address(self) -> str:
        """What to type into a browser on this computer."""
        return f"http://{'localhost' if _is_loopback(self.host) else self.host}:{self.server_port}/"

    def start(self) -> None:
        """Answer in a thread of its own until `shutdown`."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def welcomes(self, host: str) -> bool:
        """Whether a request may call us so: another name that leads here is somebody else's page (DNS rebinding)."""
        name = urlsplit(f"//{host}").hostname or ""
        return not _is_loopback(self.host) or name == "localhost" or _is_loopback(name)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tfseg", ""
    timeout = 60  # seconds without a word; then the connection is closed

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        address = self.path.partition("?")[0]
        assert isinstance(self.server, Server)
        if not self.server.welcomes(self.headers.get("Host", "")):
            self._send(403, b"This server is for its own computer.\n", with_body=with_body)
        elif self.server.answers is None:
            self._send(503, b"Not ready yet.\n", with_body=with_body)
        elif (answer := self.server.answers.get(address)) is None:
            self._send(404, b"There is no such file.\n", with_body=with_body)
        else:
            try:
                body = answer.read()
            except OSError as error:
                self._send(500, f"The file cannot be read ({error.strerror}).\n".encode(), with_body=with_body)
                return
            self._send(200, body, kind=media_type(address), with_body=with_body)

    def _send(self, status: int, body: bytes, *, kind: str = "text/plain; charset=utf-8", with_body: bool) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            status, body = 304, b""
        self.send_response(status)
        for name, value in _ISOLATED.items():
            self.send_header(name, value)
        if status == 200:
            self.send_header("ETag", tag)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the page says what matters."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
