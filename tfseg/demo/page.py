"""What the page is made of: every address that is served, and the file that lies behind it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfseg import __version__
from tfseg.errors import InputError
from tfseg.lite import metadata
from tfseg.places import device_side, npm_command

LIST = "/demo.json"
CLIP = "/clip.webm"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
}
_BARE_IMPORT = b'from "@litertjs/wasm-utils"'  # a browser resolves no package names, and a worker has no import map


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """The test video: its file, its name for people, and whether it is simulated."""

    path: Path
    name: str
    phantom: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What an address gives: the bytes are made when they are asked for, so that a changed file is served as it is."""

    path: Path | None
    content: bytes = b""
    replace: tuple[bytes, bytes] = (b"", b"")

    def read(self) -> bytes:
        """Return the body; OSError when its file cannot be read."""
        if self.path is None:
            return self.content
        body = self.path.read_bytes()
        return body.replace(*self.replace) if self.replace[0] else body


def folder() -> Path:
    """Return where page/ and package.json lie."""
    return device_side() / "web"


def litert(root: Path) -> Path:
    """Return the folder of LiteRT for the web below `root`.

    Raises:
        InputError: npm has not put it there.
    """
    modules = root / "node_modules" / "@litertjs"
    if (modules / "core" / "dist" / "index.js").is_file() and (modules / "wasm-utils" / "dist" / "index.js").is_file():
        return modules
    raise InputError(f"{modules}: LiteRT for the web is not there; get it from npm: {npm_command()}")


def answers(root: Path, models: Sequence[Path], clip: Clip) -> dict[str, Answer]:
    """Return what every address gives; there are no others, so no request can name a file that is not meant.

    Args:
        root: see `folder`.
        models: .tflite files of tfseg, the first one to be shown first.
        clip: the test video.

    Raises:
        InputError: LiteRT is not there, or a file is none of tfseg.
    """
    page = {f"/{path.name}": Answer(path=path) for path in sorted((root / "page").iterdir()) if path.is_file()}
    modules = litert(root)
    glue = {f"/litert/wasm/{path.name}": Answer(path=path) for path in sorted((modules / "core" / "wasm").iterdir())}
    listed = [_listed(number, path) for number, path in enumerate(models)]
    labels = [entry["label"] for entry in listed]
    for entry in listed:
        if labels.count(entry["label"]) > 1:
            entry["label"] = entry["name"]
    table = {
        "version": __version__,
        "clip": {"url": CLIP, "name": clip.name, "phantom": clip.phantom},
        "models": listed,
        "files": ["/", *(name for name in page if name != "/index.html"), "/litert/core.js", "/litert/wasm-utils.js"],
    }
    return {
        "/": page.pop("/index.html"),
        **page,
        **glue,
        "/litert/core.js": Answer(
            path=modules / "core" / "dist" / "index.js", replace=(_BARE_IMPORT, b'from "/litert/wasm-utils.js"')
        ),
        "/litert/wasm-utils.js": Answer(path=modules / "wasm-utils" / "dist" / "index.js"),
        **{entry["url"]: Answer(path=path) for entry, path in zip(listed, models, strict=True)},
        CLIP: Answer(path=clip.path),
        LIST: Answer(path=None, content=json.dumps(table, indent=1).encode()),
    }


def media_type(address: str) -> str:
    """Return the Content-Type of an address.

    >>> media_type("/"), media_type("/models/0/nerve-int8.tflite")
    ('text/html; charset=utf-8', 'application/octet-stream')
    """
    return _TYPES.get(Path(address).suffix if address != "/" else ".html", "application/octet-stream")


def _listed(number: int, path: Path) -> dict[str, Any]:
    about = metadata.read(path)
    return {
        "url": f"/models/{number}/{quote(path.name)}",
        "name": path.stem,
        "label": about.precision,
        "megabytes": path.stat().st_size / 1e6,
        "phantom": about.phantom,
    }
