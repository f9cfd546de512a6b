"""Two networks in cascade: by hand with networks that are thresholds, and what their runs must share."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

from tfseg import cascade
from tfseg.errors import InputError
from tfseg.inference import Masking
from tfseg.metrics import hausdorff95, score
from tfseg.postprocess import keep_largest_body
from tfseg.stacks import mask_volume

SIDE = 16


class Body:
    """A stack in memory: its values are what the network sees."""

    def __init__(self, values, spacing_mm=(5.0, 1.0, 1.0)):
        self.values, self.spacing_mm, self.shape = values, spacing_mm, values.shape

    def read(self, index, *, window):  # noqa: ARG002 - values are in [0, 1] already
        return self.values[index, ..., None].astype(np.float32)

    def close(self):
        pass


def masking(name, **more):
    defaults = {"threshold": 0.5, "largest_component": False, "window": (0.0, 1.0)}
    return Masking(**{"image_size": SIDE, "channels": 1, "classes": (name,), "activation": "sigmoid"} | defaults | more)


def bright(images):
    return (images > 0.3).astype(np.float32)


def dark(images):
    return (images < 0.3).astype(np.float32)


def organs():
    """Two organs of 0.6 in 8 slices, 3x4x4 and 1x2x2; the larger one has a hole, and there is one outside, too."""
    values = np.full((8, SIDE, SIDE), 0.5, np.float32) * 0
    values[2:5, 4:8, 4:8] = 0.6
    values[6, 12:14, 12:14] = 0.6
    values[3, 5, 5] = 0.1
    return values


def test_the_lesion_is_looked_for_in_the_box_round_the_largest_organ():
    found = cascade.predict((bright, masking("liver")), (dark, masking("tumour", region="liver")), Body(organs()))
    liver, tumour = found[..., 0], found[..., 1]
    assert liver.sum() == 3 * 16 - 1  # the smaller organ is gone
    assert not liver[6].any()
    assert np.argwhere(tumour).tolist() == [[3, 5, 5]]  # all else that is dark lies outside of the box


def test_the_margin_is_in_millimetres():
    """5 mm are 1 slice up and down and 5 pixels to each side, as far as the volume goes."""
    seen = []

    def everything(images):
        seen.append(images.shape)
        return np.ones_like(images)

    found = cascade.predict(
        (bright, masking("liver")), (everything, masking("tumour", region="liver", margin_mm=5)), Body(organs())
    )
    places = np.argwhere(found[..., 1])
    assert places.min(axis=0).tolist() == [1, 0, 0]
    assert places.max(axis=0).tolist() == [5, 12, 12]
    assert seen == [(5, SIDE, SIDE, 1)]  # enlarged to what the network takes


def test_without_an_organ_there_is_no_lesion():
    found = cascade.predict((bright, masking("liver")), (dark, masking("tumour", region="liver")), Body(organs() * 0))
    assert not found.any()


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="looks at the whole volume"):
        cascade.check(masking("liver"), masking("tumour"))
    with pytest.raises(InputError, match="region of liver, and the first one finds spleen"):
        cascade.check(masking("spleen"), masking("tumour", region="liver"))


def test_batches_of_slices_do_not_change_the_mask():
    values = np.random.default_rng(0).random((19, 21, 13)).astype(np.float32)
    network = masking("liver", image_size=8)
    together = mask_volume(bright, network, Body(values))
    one_by_one = [mask_volume(bright, network, Body(values[k : k + 1]))[0] for k in range(19)]
    np.testing.assert_array_equal(together, np.stack(one_by_one))


@pytest.mark.parametrize("density", [0.05, 0.15, 0.3, 0.6])
def test_the_largest_body_is_that_of_labels_of_the_whole_volume(density):
    from scipy import ndimage

    mask = (np.random.default_rng(1).random((9, 20, 17)) < density).astype(np.uint8)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    kept = keep_largest_body(mask.copy())
    assert kept.sum() == sizes.max()
    np.testing.assert_array_equal(kept, labels == labels[kept > 0][0])


def test_distances_in_three_dimensions_are_in_millimetres():
    """Two voxels, 1 slice of 5 mm, 2 rows of 3 mm and 4 columns of 2 mm apart: the root of 25 + 36 + 64."""
    truth, prediction = (np.zeros((4, 6, 8), np.uint8) for _ in range(2))
    truth[1, 1, 1] = prediction[2, 3, 5] = 1
    assert hausdorff95(truth > 0, prediction > 0, spacing_mm=(5, 3, 2)) == pytest.approx(125**0.5)
    assert hausdorff95(truth > 0, prediction > 0) == pytest.approx(21**0.5)


def test_the_95th_percentile_of_a_cube_that_grew_upwards():
    """A cube of 5x5x5 voxels and one with 2 slices more on top, 4 mm each.

    The surface of the 7x5x5 block has 7*25 - 5*9 = 130 voxels. Of these the 25 of the top are 8 mm from the cube, the
    16 of the ring below 4 mm, and the other 89 lie on the cube's surface. 25 of 130 are more than 5 %, so the 95th
    percentile is 8 mm. Back it is less: from the middle of the old top to the block's side are 2 mm.
    """
    truth, prediction = (np.zeros((9, 7, 7), np.uint8) for _ in range(2))
    truth[1:6, 1:6, 1:6] = 1
    prediction[1:8, 1:6, 1:6] = 1
    assert score(truth, prediction, spacing_mm=(4, 1, 1)).hausdorff95 == pytest.approx(8)
    assert score(truth, prediction).dice == pytest.approx(2 * 125 / (125 + 175))
    assert score(truth, prediction, spacing_mm=(4, 1, 1)).sensitivity == 1


SCRIPT = """
import resource, sys
import numpy as np
sys.argv = ["tfseg"]
from tfseg import cli
from tfseg.commands.opening import load_tensorflow
load_tensorflow()
import keras
from tfseg.models.files import Card, save
folder = {folder!r}
def network(name, classes, sign, **card):
    image = keras.Input((64, 64, 1))
    layer = keras.layers.Conv2D(1, 1, name="logits")
    model = keras.Model(image, layer(image))
    layer.set_weights([np.full((1, 1, 1, 1), sign * 1000.0), np.full(1, -sign * 300.0)])
    save(model, __import__("pathlib").Path(folder) / name, Card(model="unet", classes=classes, activation="sigmoid",
         threshold=0.5, largest_component=True, dataset="lits", fingerprint="", phantom=True, fold=None,
         window=(-100.0, 400.0), **card))
network("liver.keras", ("liver",), 1)
network("tumour.keras", ("tumour",), -1, region="liver", margin_mm=5.0)
print("baseline", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
status = cli.main(["predict", folder + "/tumour.keras", folder + "/ct.nii", "--region", folder + "/liver.keras",
                   "--out", folder + "/out"])
assert status == 0
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 15 to 50 s of a processor, and many minutes where others want it, too
@pytest.mark.parametrize("axes", ["RAS", "SPL"])
def test_a_large_volume_takes_less_than_two_gibibytes(tmp_path, axes):
    """512x512x800 voxels of 2 bytes are 400 MiB; the masks of both classes are as much.

    Seen: 1542 MiB, and 1538 MiB with slices scattered over the file; 686 MiB of each are TensorFlow's.
    """
    import nibabel as nib

    path, shape = tmp_path / "ct.nii", (512, 512, 800)
    stored = shape if axes == "RAS" else shape[::-1]
    header = nib.Nifti1Header()
    header.set_data_shape(stored)
    header.set_data_dtype(np.int16)
    affine = (
        np.diag([-0.7, -0.7, 1, 1])
        if axes == "RAS"
        else np.array([[0, 0, -0.7, 0], [0, -0.7, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    )
    header.set_sform(affine, code=1)
    header["vox_offset"] = 352
    with path.open("wb") as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        file.truncate(352 + 2 * int(np.prod(shape)))
    voxels = np.memmap(path, np.int16, "r+", 352, stored, order="F")
    voxels[tuple(slice(size // 4, size // 2) for size in stored)] = 200
    voxels.flush()
    del voxels
    command = [sys.executable, "-c", SCRIPT.format(folder=str(tmp_path))]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    said = dict(line.split() for line in result.stdout.splitlines())
    print(axes, {key: int(value) // 1024 for key, value in said.items()}, "MiB")
    assert int(said["peak"]) / 1024 < 2048
    liver = nib.load(tmp_path / "out" / "ct_liver.nii.gz")
    assert liver.shape == stored
    np.testing.assert_allclose(liver.affine, affine)


@pytest.mark.slow
def test_the_study_of_livers_ends_in_its_table(tfseg, tmp_path):
    """One fold each would do for the form; the sizes are those of --quick but for the epochs."""
    data, out = tmp_path / "lits", tmp_path / "study"
    tfseg("data", "phantom", "lits", data, "--subjects", "4", "--frames", "10")
    quick = ("--quick", "--set", "epochs=1", "--set", "image_size=32", "--set", "model=segresnet_bn")
    tfseg("study", "liver", "--data", data, "--out", out, *quick)
    with (out / "table.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "PHANTOM"
    assert [row[0] for row in rows] == ["liver", "tumour"]
    assert rows[0][header.index("published: Dice")] == "0.874"
    assert rows[1][header.index("published: Dice")] == "–"
    assert (out / "cascade" / "seed0" / "predictions" / "volume-1_tumour.nii.gz").exists()
    with (out / "cascade" / "seed0" / "metrics.csv").open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert sorted((row["image"], row["class"]) for row in scored) == sorted(
        (f"volume-{k}.nii{'.gz' if k % 2 else ''}", name) for k in range(4) for name in ("liver", "tumour")
    )
