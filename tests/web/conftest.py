"""The live demo to test with: small networks, a clip and a camera, the real server, the real Chromium."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tfseg.demo import page as pages
from tfseg.errors import InputError

SIZE = 64  # of the networks' images
HEIGHT, WIDTH, RATE, FRAMES = 120, 160, 12, 24  # of the clip
GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="session")
def node() -> str:
    """The program node."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node.js: apt-get install nodejs npm, 20 or newer")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"Node.js {version.strip()}: 20 or newer is needed")
    return program


@pytest.fixture(scope="session")
def _litert() -> None:
    """LiteRT for the web; the test is skipped without it."""
    try:
        pages.litert(pages.folder())
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def launch(_litert: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Start Chromium, once, with a software GPU and a camera that films a file, or once more with a user who shares."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    film = write_y4m(tmp_path_factory.mktemp("camera") / "clip.y4m")
    started: dict[bool, Any] = {}
    with playwright.sync_playwright() as driver:

        def browser(*, shares_screen: bool) -> Any:
            if shares_screen not in started:
                # The user interface would say yes to a camera, too, and a file cannot stand for a screen.
                media = (
                    "--use-fake-ui-for-media-stream" if shares_screen else f"--use-file-for-fake-video-capture={film}"
                )
                arguments = [*GPU, "--use-fake-device-for-media-stream", media]
                started[shares_screen] = driver.chromium.launch(executable_path=program, args=arguments)
            return started[shares_screen]

        yield browser
        for chromium in started.values():
            chromium.close()


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each precision that finds bright spots, as `tfseg convert` writes it."""
    import keras

    from tfseg.lite.calibration import Calibration
    from tfseg.lite.convert import Options, convert
    from tfseg.models.files import Card

    image = keras.Input((SIZE, SIZE, 1), name="image")
    blurred = keras.layers.Conv2D(4, 5, padding="same", use_bias=False, name="blur")
    logits = keras.layers.Conv2D(1, 1, name="logits")
    model = keras.Model(image, logits(keras.layers.ReLU(name="relu")(blurred(image))))
    blurred.set_weights([np.full((5, 5, 1, 4), 1 / 25, "float32")])
    logits.set_weights([np.full((1, 1, 4, 1), 6, "float32"), np.float32([-12])])  # half where the mean is 0.5
    card = Card(
        model="spots",
        classes=("spot",),
        activation="sigmoid",
        threshold=0.5,
        largest_component=True,
        dataset="nerve",
        fingerprint="0" * 64,
        phantom=True,
        fold=None,
    )
    shown = [cv2.resize(picture(frame), (SIZE, SIZE))[..., None] for frame in range(0, FRAMES, 4)]
    calibration = Calibration(names=tuple(map(str, range(len(shown)))), images=shown)
    folder = tmp_path_factory.mktemp("networks")
    files = {}
    for kind in ("int8", "fp16"):
        files[kind] = folder / f"spots-{kind}.tflite"
        files[kind].write_bytes(convert(model, card, Options.of(kind), calibration=calibration))
    keras.backend.clear_session()
    return files


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a bright spot that moves over noise."""
    path = tmp_path_factory.mktemp("clip") / "spot.webm"
    write_webm(path)
    return path


@pytest.fixture
def demo(start_tfseg: Callable[..., Any], clip: Path, _litert: None) -> Iterator[Callable[..., str]]:
    """Start `tfseg demo ARGUMENTS` on a free port, return its address; it ends well on Ctrl-C."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: object) -> str:
            process = start_tfseg("demo", *arguments, "--clip", clip, "--port", free_port())
            stack.callback(stop, process)
            return process.stdout.readline().strip()

        def stop(process: Any) -> None:
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
            assert process.returncode == 0, stderr

        yield start


@pytest.fixture
def visit(launch: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Open an address in a new profile and return the page; at its end nothing may have gone wrong unseen."""
    with contextlib.ExitStack() as stack:

        def go(address: str, *, size: tuple[int, int] = (390, 844), camera: bool = False, screen: bool = False) -> Any:
            context = launch(shares_screen=screen).new_context(
                viewport={"width": size[0], "height": size[1]},
                permissions=["camera"] if camera else [],
                accept_downloads=True,
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            stack.callback(lambda: check(errors))
            page.goto(address)
            return page

        def check(errors: list[str]) -> None:
            assert errors == []

        yield go


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def picture(frame: int) -> np.ndarray:
    """A spot of radius 22 that goes round, on dark noise, with a smaller one in a corner: uint8 (H, W)."""
    rng = np.random.default_rng(frame)
    turn = 2 * np.pi * frame / FRAMES
    image = rng.integers(20, 70, (HEIGHT, WIDTH)).astype(np.uint8)
    cv2.circle(image, (int(80 + 40 * np.cos(turn)), int(62 + 26 * np.sin(turn))), 22, (225,), -1)
    cv2.circle(image, (12, 12), 8, (225,), -1)
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def write_webm(path: Path) -> None:
    """Write the spot as VP8."""
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:  # OpenCV wonders about the codec's name
        os.dup2(nowhere.fileno(), 2)
    try:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), RATE, (WIDTH, HEIGHT))
        for frame in range(FRAMES):
            writer.write(cv2.cvtColor(picture(frame), cv2.COLOR_GRAY2BGR))
        writer.release()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def write_y4m(path: Path) -> Path:
    """Write the spot as raw frames, which is what Chromium's camera takes."""
    grey = np.full(HEIGHT * WIDTH // 2, 128, np.uint8).tobytes()  # both planes of colour
    frames = [b"FRAME\n" + picture(frame).tobytes() + grey for frame in range(FRAMES)]
    path.write_bytes(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode() + b"".join(frames))
    return path
