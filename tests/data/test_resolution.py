"""What a network's resolution leaves of masks, by pictures that one can check in the head."""

import json

import numpy as np
from PIL import Image

from tfseg.data.folder import DATASET
from tfseg.data.resolution import lines, resolution


def write(root, **masks):
    for name, mask in masks.items():
        for folder, array in (("images", np.arange(mask.size).reshape(mask.shape) % 251), ("masks", 255 * mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / folder / f"{name}.png")


def picture(rows=slice(0), columns=slice(None)):
    mask = np.zeros((80, 80), np.uint8)
    mask[rows, columns] = 1
    return mask


def found(root, size):
    return resolution(DATASET, DATASET.samples(root), root, size=size, watch=lambda done, total: None)


def test_a_line_thinner_than_half_a_pixel_vanishes_and_counts(tmp_path):
    write(tmp_path, half=picture(slice(0, 40)), line=picture(slice(40, 43)), empty=picture())
    left = found(tmp_path, 8)  # pixels of 10: the line covers 0.3 of a row, the half 4 whole rows
    assert left.images == {"foreground": 2}
    assert left.vanished == {"foreground": ("images/line.png",)}
    assert left.dice["foreground"] == 0.5  # 1 of the half, whose edge lies between two pixels, and 0 of the line
    assert lines(left, limit=5) == [
        "at 8 pixels a perfect network reaches",
        "    foreground: Dice 0.5000 (images that show it: 2)",
        "warning: foreground vanishes at 8 pixels: 1",
        "    images/line.png",
    ]
    whole = found(tmp_path, 80)
    assert (whole.dice, whole.vanished) == ({"foreground": 1.0}, {"foreground": ()})


def test_nothing_drawn_is_nothing_to_reach(tmp_path):
    write(tmp_path, empty=picture())
    left = found(tmp_path, 8)
    assert (left.dice, left.images) == ({"foreground": None}, {"foreground": 0})
    assert "nothing to reach" in lines(left, limit=5)[1]


def test_data_check_says_what_a_size_leaves(tfseg, tmp_path):
    write(tmp_path, half=picture(slice(0, 40)), line=picture(slice(40, 43)))
    words = ("data", "check", tmp_path, "--dataset", "folder", "--image-size")
    assert "foreground vanishes at 8 pixels: 1" in tfseg(*words, "8").stdout
    assert json.loads(tfseg(*words, "8", "--json").stdout)["at_size"]["dice"] == {"foreground": 0.5}
    refused = tfseg(*words, "3", status=2)
    assert refused.stderr.strip() == "tfseg: image_size = 3 is outside 8 to 4096"
