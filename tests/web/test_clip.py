"""The test video, and which files a run stands for."""

import cv2
import numpy as np
import pytest

from tfseg.commands.demo import find_models
from tfseg.data.phantom.exam import Plan, film
from tfseg.data.phantom.grid import linear_grid
from tfseg.data.phantom.limb import limb
from tfseg.demo.clip import RATE, open_clip, write_clip
from tfseg.demo.page import media_type
from tfseg.errors import InputError
from tfseg.progress import silent
from tfseg.runs import PROVENANCE, RECIPE, SCHEMA, write_json


def correlation(one, other):
    return np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]


def test_the_probe_moves_smoothly_and_the_end_leads_into_the_beginning():
    plan = Plan(subjects=1, frames=24, seed=0, empty_share=0.0)
    frames = list(film(plan, 7, limb, linear_grid((105, 145))))
    assert frames[0].shape == (105, 145)
    again = next(film(plan, 7, limb, linear_grid((105, 145))))
    np.testing.assert_array_equal(frames[0], again)
    far = correlation(frames[0], frames[18])  # three quarters through, the probe stands elsewhere
    assert correlation(frames[0], frames[1]) > far + 0.2
    assert correlation(frames[0], frames[-1]) > far + 0.2


@pytest.mark.parametrize(("name", "shape"), [("nerve", (420, 580)), ("hc18", (480, 712))])
def test_the_clip_is_a_video_of_what_the_network_looks_for(tmp_path, name, shape):
    shown = []
    write_clip(tmp_path / "clip.webm", name, lambda *about: shown.append(about[1:3]), frames=3)
    assert shown == [(1, 3), (2, 3), (3, 3)]
    video = cv2.VideoCapture(str(tmp_path / "clip.webm"))
    assert video.get(cv2.CAP_PROP_FPS) == RATE
    read = [video.read()[1] for _ in range(3)]
    assert [frame.shape[:2] for frame in read] == [shape] * 3
    assert not video.read()[0]
    assert 20 < np.mean(read) < 120
    assert media_type("/clip.webm") == "video/webm"


def test_a_kept_clip_is_used_again_and_a_given_one_is_not_a_phantom(tmp_path, monkeypatch):
    monkeypatch.setattr("tfseg.demo.clip.FRAMES", 2)
    first = open_clip("folder", None, silent)  # of one's own images nothing is known: a limb
    assert first.phantom
    assert first.name == "phantom of nerve"
    before = first.path.stat().st_mtime_ns
    assert open_clip("usgra", None, silent).path == first.path
    assert first.path.stat().st_mtime_ns == before
    given = tmp_path / "mine.mp4"
    given.write_bytes(b"x")
    assert open_clip("nerve", given, silent).phantom is False
    with pytest.raises(InputError, match=r"--clip .*none\.mp4: no such file"):
        open_clip("nerve", tmp_path / "none.mp4", silent)


def test_a_run_stands_for_its_files_the_smallest_first(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "one"
    (run / "fold_0").mkdir(parents=True)
    (run / "fold_1").mkdir()
    (run / RECIPE).write_text('dataset = "nerve"\n')
    write_json(run / PROVENANCE, {"schema": SCHEMA})
    with pytest.raises(InputError, match=r"holds no .* file; make one with `tfseg convert"):
        find_models([run])
    (run / "fold_1" / "int8.tflite").write_bytes(b"1")
    assert find_models([run]) == [run / "fold_1" / "int8.tflite"]
    (run / "final").mkdir()
    (run / "final" / "int8.tflite").write_bytes(b"1")
    assert find_models([run]) == [run / "final" / "int8.tflite"]
    (run / "unet-fp16.tflite").write_bytes(b"22")
    (run / "unet-int8.tflite").write_bytes(b"1")
    assert find_models([run]) == [run / "unet-int8.tflite", run / "unet-fp16.tflite"]
    assert find_models([run, run / "unet-fp16.tflite"]) == find_models([run])  # each file once
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in find_models([])] == ["unet-int8.tflite", "unet-fp16.tflite"]
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match="no run in runs"):
        find_models([])
