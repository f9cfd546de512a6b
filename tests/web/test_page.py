"""The page in a real browser: three sources, two accelerators, the masks of Python's LiteRT, and what goes wrong."""

import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tfseg.data.images import read_image
from tfseg.lite.interpret import open_file

RATE = 12  # of the clip, in frames a second
COLOURED = """() => {  // how many pixels of the grey picture are tinted
    const canvas = document.getElementById('picture');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i] > data[i + 2] + 20;
    return count;
}"""
UNNAMED = """() => [...document.querySelectorAll('button, input, select')]
    .filter((e) => e.offsetParent && !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map((e) => e.id)"""


def until(page, expression, *, limit_s=40):
    """Wait until JavaScript is true; Playwright's own way needs eval, which the page's policy forbids."""
    deadline = time.monotonic() + limit_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression}\n{page.inner_text('#status')}\n{page.inner_text('#problem')}"
        page.wait_for_timeout(50)


def ready(page, *, accelerator):
    """Choose an accelerator and wait until frames come."""
    page.wait_for_selector("#models input", state="attached")
    page.locator("#accelerators label", has_text=accelerator).click()
    until(page, "document.getElementById('status').textContent.includes(' runs on ')")
    shows_frames(page)


def shows_frames(page, *, atleast=2):
    until(page, f"Number(document.getElementById('counted').textContent) >= {atleast}")


def saved(page, tmp_path):
    """Freeze, save everything, and return the files by the end of their name."""
    page.locator("#save-all").check()
    downloads: list = []
    page.on("download", lambda download: downloads.append(download))  # an attribute is set on it
    page.locator("#save").click()
    until(page, "document.getElementById('aloud').textContent.startsWith('Saved')")
    deadline = time.monotonic() + 10
    while len(downloads) < 3 and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    files = {}
    for download in downloads:
        end = re.fullmatch(r"tfseg_[\dT-]+_(\w+)\.png", download.suggested_filename)[1]
        files[end] = tmp_path / f"{end}.png"
        download.save_as(files[end])
    return files


def check_masks(page, file, tmp_path):
    """Compare the page's mask with that of Python's LiteRT on the very frame that it saw; return frame and mask."""
    files = saved(page, tmp_path)
    assert set(files) == {"overlay", "frame", "spot"}
    predict, masking = open_file(file)
    expected = masking.mask(predict, read_image(files["frame"], channels=1))[..., 0]
    with Image.open(files["spot"]) as image:
        found = np.asarray(image.convert("L")) > 0
    assert 500 < expected.sum() < 4000  # the spot, and neither nothing nor all
    assert np.mean(found != expected) < 0.01 * expected.mean()  # 1 % of the mask, which is stricter than of the picture
    shown = int(re.sub(r"\D", "", page.locator("#readings .area dd").first.inner_text()))
    assert shown == found.sum()
    with Image.open(files["overlay"]) as image:
        assert image.size[0] == 160
        assert image.size[1] > 120  # the caption
    return np.asarray(Image.open(files["frame"]).convert("L")), found


def settled_time(page):
    """The time that the page names, once it has stayed the same for a second: a busy machine shows a step late."""
    time = page.locator("#time")
    said, same = time.inner_text(), 0
    while same < 10:
        page.wait_for_timeout(100)
        said, same = (said, same + 1) if time.inner_text() == said else (time.inner_text(), 0)
    return float(said.split()[0])


def test_the_test_video_is_segmented_as_python_does_it(demo, visit, networks, clip, tmp_path):
    """The quick one of these tests: one file, one source, freeze, step, save."""
    page = visit(demo(networks["int8"]))
    ready(page, accelerator="WASM")
    assert page.locator("#phantom").is_visible()
    page.locator("#freeze").click()
    page.locator("#step-next").click()
    until(page, "document.getElementById('aloud').textContent.startsWith('Frozen')")
    before = settled_time(page)
    page.locator("#step-next").click()
    until(page, f"parseFloat(document.getElementById('time').textContent) !== {before}")
    after = settled_time(page)
    assert (after - before) % 2 == pytest.approx(1 / RATE, abs=0.011)  # the text has two digits; the clip is 2 s long
    frame, found = check_masks(page, networks["int8"], tmp_path)
    video = cv2.VideoCapture(str(clip))
    decoded = [video.read()[1][..., 0].astype(float) for _ in range(24)]
    nearest = int(np.argmin([np.abs(frame - other).mean() for other in decoded]))
    assert nearest == int(after * RATE)  # it is the frame that the time names
    # A browser takes the video's transfer curve (SMPTE 170M) to the screen's (sRGB), which lifts dark greys by up to 5.
    assert np.abs(frame - decoded[nearest]).mean() < 5
    predict, masking = open_file(networks["int8"])
    expected = masking.mask(predict, decoded[nearest].astype("float32")[..., None] / 255)[..., 0]
    assert np.mean(found != expected) < 0.01  # of the picture's pixels, from the video to the mask


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("accelerator", ["WASM", "WebGPU"])
def test_every_precision_and_accelerator_gives_pythons_masks(demo, visit, networks, tmp_path, precision, accelerator):
    page = visit(demo(networks[precision]))
    ready(page, accelerator=accelerator)
    said = page.locator("#status").inner_text()
    assert said.startswith(f"spots-{precision} runs on ")
    if precision == "fp16":
        assert f"runs on {accelerator}" in said  # an int8 file may be refused by WebGPU, and the page then says so
    elif "runs on WASM" in said and accelerator == "WebGPU":
        assert ": WebGPU " in said
    page.locator("#freeze").click()
    until(page, "document.getElementById('aloud').textContent.startsWith('Frozen')")
    check_masks(page, networks[precision], tmp_path)


@pytest.mark.slow
def test_a_video_of_ones_own_stays_in_the_page(demo, visit, networks, clip, tmp_path):
    page = visit(demo(networks["int8"]))
    ready(page, accelerator="WASM")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#file").set_input_files(clip)
    until(page, "document.querySelector('#source-file').ariaPressed === 'true'")
    shows_frames(page)
    page.locator("#freeze").click()
    check_masks(page, networks["int8"], tmp_path)
    assert [url for url in asked if not url.startswith("blob:")] == []


@pytest.mark.slow
@pytest.mark.parametrize("source", ["camera", "screen"])
def test_what_is_live_is_segmented(demo, visit, networks, tmp_path, source):
    page = visit(demo(networks["int8"]), size=(1280, 800), camera=source == "camera", screen=source == "screen")
    ready(page, accelerator="WASM")
    page.locator(f"#source-{source}").click()
    until(page, f"document.querySelector('#source-{source}').ariaPressed === 'true'")
    shows_frames(page, atleast=5)
    assert page.locator("#problem").is_hidden()
    page.locator("#freeze").click()
    until(page, "document.getElementById('aloud').textContent.startsWith('Frozen')")
    if source == "camera":
        check_masks(page, networks["int8"], tmp_path)
    page.locator("#step-next").click()
    page.locator("#freeze").click()
    shows_frames(page, atleast=8)


@pytest.mark.slow
def test_a_browser_without_webgpu_says_so(demo, visit, networks):
    page = visit(demo(networks["fp16"]))
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })")
    page.context.route(
        "**/segmenter.js",
        lambda route: route.fulfill(  # the worker has a navigator of its own
            response=(answer := route.fetch()), body=f"delete WorkerNavigator.prototype.gpu;\n{answer.text()}"
        ),
    )
    page.goto(page.url.replace("localhost", "127.0.0.1"))  # another origin: nothing is kept of it
    ready(page, accelerator="WebGPU")
    assert "runs on WASM" in page.locator("#status").inner_text()
    assert "this browser offers no WebGPU" in page.locator("#status").inner_text()
    assert "caution" in page.locator("#status").get_attribute("class")


@pytest.mark.slow
def test_a_refused_camera_is_told_and_the_test_video_still_plays(demo, visit, networks):
    page = visit(demo(networks["int8"]))
    ready(page, accelerator="WASM")
    page.locator("#source-camera").click()
    until(page, "document.getElementById('problem').textContent.startsWith('The camera was refused')")
    page.locator("#source-test").click()
    shows_frames(page)
    assert page.locator("#problem").is_hidden()


@pytest.mark.slow
def test_a_video_that_cannot_play_is_named(demo, visit, networks, tmp_path):
    page = visit(demo(networks["int8"]))
    ready(page, accelerator="WASM")
    (tmp_path / "holiday.mp4").write_bytes(b"no video at all" * 100)
    page.locator("#file").set_input_files(tmp_path / "holiday.mp4")
    until(page, "document.getElementById('problem').textContent.includes('holiday.mp4: this browser cannot')")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a byte", "the end", "all"])
def test_a_broken_model_is_named_and_another_one_works(demo, visit, networks, tmp_path, damage):
    broken = Path(shutil.copy(networks["fp16"], tmp_path / "broken.tflite"))
    address = demo(broken, networks["int8"])
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes({"a byte": content, "the end": content[:900], "all": b"x" * 5000}[damage])
    page = visit(address)
    until(page, "document.getElementById('problem').textContent.startsWith('broken: ')")
    assert ".tflite file" in page.locator("#problem").inner_text()
    page.locator("#models label").nth(1).click()
    ready(page, accelerator="WASM")
    assert page.locator("#problem").is_hidden()


@pytest.mark.slow
def test_the_page_works_without_its_server_after_the_first_load(start_tfseg, visit, networks, clip):
    process = start_tfseg("demo", networks["int8"], "--clip", clip, "--port", "0")
    page = visit(process.stdout.readline().strip())
    ready(page, accelerator="WASM")
    process.terminate()
    process.communicate()
    assert process.returncode == 0  # SIGTERM ends it as well as Ctrl-C does
    page.reload()
    ready(page, accelerator="WASM")


@pytest.mark.slow
def test_keys_freeze_step_hide_and_scale_gives_square_millimetres(demo, visit, networks):
    page = visit(demo(networks["int8"]), size=(1280, 800))
    ready(page, accelerator="WASM")
    page.keyboard.press("Space")
    until(page, "document.getElementById('freeze').ariaPressed === 'true'")
    assert page.locator("#picture").get_attribute("aria-label").startswith("Frozen frame. spot: ")
    coloured = COLOURED
    assert page.evaluate(coloured) > 500
    page.keyboard.press("m")
    assert page.evaluate(coloured) == 0
    page.locator("#picture").click()
    assert page.evaluate(coloured) > 500
    time_before = page.locator("#time").inner_text()
    page.locator("#freeze").focus()  # a group of choices, which had it, takes arrows for itself
    page.keyboard.press("ArrowLeft")
    until(page, f"document.getElementById('time').textContent !== '{time_before}'")
    page.locator("#scale").fill("0.2")
    name, big, small = page.locator("#readings .area").inner_text().split("\n")
    assert (name, big.split()[1], small.split()[1]) == ("spot", "mm²", "px")
    area, pixels = float(big.split()[0]), int(small.split()[0].replace(",", ""))
    assert area == pytest.approx(pixels * 0.04, abs=0.06)  # one digit is shown
    page.locator("#source-test").click()
    until(page, "document.getElementById('scale').value === ''")  # another picture has another scale


@pytest.mark.slow
@pytest.mark.parametrize("size", [(360, 640), (390, 844), (844, 390), (1280, 800)])
def test_all_is_in_reach_at_every_size(demo, visit, networks, size):
    page = visit(demo(networks["int8"], networks["fp16"]), size=size)
    ready(page, accelerator="WASM")
    overflow = page.evaluate(
        "() => [document.documentElement, document.querySelector('main')].map((e) => e.scrollWidth - e.clientWidth)"
    )
    assert overflow == [0, 0]
    for button in page.locator("nav button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44  # a thumb, after WCAG 2.5.5
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]
    picture = page.locator("#picture").bounding_box()
    readings = page.locator("#readings").bounding_box()
    assert picture["width"] * picture["height"] > 0.2 * size[0] * size[1]
    assert readings["y"] + readings["height"] < size[1]
    unnamed = UNNAMED
    assert page.evaluate(unnamed) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)  # software stands for the GPU
@pytest.mark.parametrize("accelerator", ["WASM", "WebGPU"])
def test_memory_does_not_grow_over_two_thousand_frames(demo, visit, networks, accelerator):
    page = visit(demo(networks["fp16"]))
    ready(page, accelerator=accelerator)
    page.evaluate("""() => {
        globalThis.frames = 0;
        new MutationObserver(() => globalThis.frames++).observe(document.getElementById('rate'), { childList: true });
        document.getElementById('video').playbackRate = 8;
    }""")
    sizes = []
    for frames in (400, 2400):
        until(page, f"globalThis.frames >= {frames}", limit_s=1000)
        sizes.append(page.evaluate("async () => (await performance.measureUserAgentSpecificMemory()).bytes") / 2**20)
    # One input tensor or one mask a frame left behind would be 30 MiB, one picture 150 MiB.
    assert sizes[1] - sizes[0] < 8, sizes
