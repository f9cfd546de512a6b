"""NIfTI: what stands where, in any orientation, and what is refused."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from tfseg.errors import InputError
from tfseg.scans.nifti import Volume, write_volume

AXES = ["RAS", "LPS", "LAS", "PIR", "SRA"]


def corner(axes, path, *, shape=(2, 3, 4)):
    """Write a volume whose voxel at the feet, in front, on the patient's right is 100, its neighbours up 1, 2 and 3."""
    values = np.zeros(shape, np.int16)  # (D, H, W)
    values[0, 0, 0], values[1, 0, 0], values[0, 1, 0], values[0, 0, 1] = 100, 1, 2, 3
    return write_volume(values, path, spacing_mm=(5.0, 2.0, 1.0), axes=axes)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_orientation_reads_alike(tmp_path, axes, suffix):
    path = corner(axes, tmp_path / f"volume{suffix}")
    assert nib.aff2axcodes(nib.load(path).affine) == tuple(axes)
    volume = Volume(path)
    assert volume.shape == (2, 3, 4)
    assert volume.spacing_mm == pytest.approx((5.0, 2.0, 1.0))
    below, above = volume.values(0), volume.values(1)
    assert (below[0, 0], above[0, 0], below[1, 0], below[0, 1]) == (100, 1, 2, 3)
    volume.close()


def test_the_first_voxel_is_right_front_and_below_in_the_world(tmp_path):
    """nibabel's own idea of the world: x grows to the left of the image, to the patient's right; z to the head."""
    path = corner("RAS", tmp_path / "volume.nii")
    image = nib.load(path)
    found = np.argwhere(np.asarray(image.dataobj) == 100)[0]
    others = {k: np.argwhere(np.asarray(image.dataobj) == k)[0] for k in (1, 2, 3)}
    here, up, back, left = (nib.affines.apply_affine(image.affine, at) for at in (found, *others.values()))
    np.testing.assert_allclose(up - here, [0, 0, 5])  # one slice: towards the head
    np.testing.assert_allclose(back - here, [0, -2, 0])  # one row: towards the back
    np.testing.assert_allclose(left - here, [-1, 0, 0])  # one column: towards the patient's left


@pytest.mark.parametrize("axes", AXES)
def test_a_mask_goes_back_to_the_voxels_and_the_affine_of_its_volume(tmp_path, axes):
    path = corner(axes, tmp_path / "volume.nii")
    source = nib.load(path)
    tilted = source.affine @ nib.affines.from_matvec(np.eye(3), [3.5, -7, 11])
    stored = np.asarray(source.dataobj)
    image = nib.Nifti1Image(stored, tilted)
    image.header.set_sform(tilted, code=2)
    image.header.set_qform(tilted, code=1)
    nib.save(image, path)
    volume = Volume(path)
    mask = np.stack([volume.values(k) == 100 for k in range(2)]).astype(np.uint8)
    written = nib.load(volume.write_mask(mask, tmp_path / "mask.nii.gz"))
    volume.close()
    np.testing.assert_array_equal(np.asarray(written.dataobj), stored == 100)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (2, 1)
    assert written.get_data_dtype() == np.uint8


def test_values_are_rescaled_and_windowed(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 924, 1174, 1424]]], np.int16).reshape(4, 1, 1), np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "ct.nii")
    raw = bytearray((tmp_path / "ct.nii").read_bytes())
    raw[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope and scl_inter: nibabel resets them when it saves
    (tmp_path / "ct.nii").write_bytes(raw)
    volume = Volume(tmp_path / "ct.nii")
    np.testing.assert_allclose(volume.values(0)[0], np.array([0, 924, 1174, 1424]) + (image.dataobj[0, 0, 0] - 1024))
    seen = volume.read(0, window=(-100, 400))[0, :, 0]
    np.testing.assert_allclose(seen, [0, 0, 0.5, 1])  # -1024, -100, 150 and 400 HU
    volume.close()


def test_a_volume_cut_short_is_refused(tmp_path):
    for name in ("volume.nii", "volume.nii.gz"):
        path = corner("RAS", tmp_path / name, shape=(9, 40, 40))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match=rf"{name}: cut short"):
            Volume(path).values(0)


def test_voxels_that_are_no_numbers_are_refused(tmp_path):
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 2, 3] = np.nan
    volume = Volume(write_volume(values, tmp_path / "nan.nii", spacing_mm=(1, 1, 1)))
    volume.values(0)
    with pytest.raises(InputError, match=r"nan.nii: 1 voxels of slice 1 are NaN"):
        volume.values(1)
    volume.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello" * 100, "not a NIfTI volume"),
        (gzip.compress(b"no", mtime=0), "not a NIfTI volume"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, content, message):
    path = tmp_path / ("x.nii.gz" if content[:2] == b"\x1f\x8b" else "x.nii")
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: {message}"):
        Volume(path)


def test_time_series_are_refused_and_a_single_one_is_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2, 5), np.int16), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(InputError, match="4 dimensions"):
        Volume(tmp_path / "series.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2, 1), np.int16), np.eye(4)), tmp_path / "one.nii")
    assert Volume(tmp_path / "one.nii").shape == (2, 3, 4)


def test_pictures_and_volumes_without_a_window(tmp_path):
    volume = Volume(corner("RAS", tmp_path / "ct.nii"))
    with pytest.raises(InputError, match="give --window LOW,HIGH"):
        volume.read(0, window=None)
    grey = Volume(write_volume(np.full((1, 2, 2), 51, np.uint8), tmp_path / "grey.nii", spacing_mm=(1, 1, 1)))
    np.testing.assert_allclose(grey.read(0, window=None), 0.2)  # of 255
    grey.close()


def test_orientation_of_a_sheared_volume_is_that_of_the_nearest_axes(tmp_path):
    affine = orientations.inv_ornt_aff(orientations.axcodes2ornt(("L", "P", "S")), (4, 3, 2))
    affine[:3, 2] += [0.1, 0.2, 0]  # a tilted gantry
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), affine), tmp_path / "tilted.nii")
    assert Volume(tmp_path / "tilted.nii").shape == (2, 3, 4)
