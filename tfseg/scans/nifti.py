"""NIfTI volumes, plain or gzip, of any orientation: read slice by slice, and masks written on the same grid.

Inside, a volume is (D, H, W) as a radiologist looks at it: slices from the feet up, rows from the front to the back,
columns from the patient's right to the left. Outside, a mask has the axes and the affine of its volume. Of a volume's
header no text is taken over: descriptions and extensions may hold a patient's name.
"""

import gzip
import mmap
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from tfseg.errors import InputError
from tfseg.runs import replacing
from tfseg.scans.stack import Window, scaled

_LPS = orientations.axcodes2ornt(("L", "P", "S"))
_BYTE = (0.0, 255.0)


class Volume:
    """A NIfTI volume, see tfseg.scans.stack.Stack; no more than one slice of it is kept in memory.

    A plain file is mapped into memory, and the pages of a slice are given back when it was read. A gzip file is first
    unpacked into a temporary file, slices being scattered over it when it was not stored from the feet up.

    Attributes:
        path: the file.
        affine: from the file's own voxel indices to mm, (4, 4).
    """

    def __init__(self, path: Path) -> None:
        """Read the header; voxels are read when they are asked for.

        Raises:
            InputError: the file is missing, is no NIfTI volume, is colour, or has not three dimensions.
        """
        self.path = path
        header = _header(path)
        assert isinstance(header.dataobj, ArrayProxy)  # as of every image that comes from a file
        self._proxy, self.affine = header.dataobj, np.asarray(header.affine)
        shape = tuple(header.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        shape += (1,) * (len(shape) == 2)
        if len(shape) != 3 or 0 in shape or self._proxy.dtype.kind not in "iuf":
            kind = "" if self._proxy.dtype.kind in "iuf" else f" of type {self._proxy.dtype}"
            raise InputError(f"{path}: {len(shape)} dimensions {shape}{kind}; save one grey volume of three dimensions")
        self._stored = shape
        self._orientation = orientations.io_orientation(self.affine)
        if np.isnan(self._orientation).any() or not np.isfinite(self.affine).all():
            raise InputError(f"{path}: its affine does not say where the axes point; repair the header")
        self._to_lps = orientations.ornt_transform(self._orientation, _LPS)
        self._map: mmap.mmap | None = None
        self._unpacked: IO[bytes] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W): slices from the feet up, rows from front to back, columns from right to left."""
        columns, rows, slices = (int(self._stored[axis]) for axis in self._sources())
        return slices, rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(slice, row, column) distance of voxel centres in mm."""
        sizes = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        columns, rows, slices = (float(sizes[axis]) for axis in self._sources())
        return slices, rows, columns

    def values(self, index: int) -> np.ndarray:
        """Return the values of one slice (H, W), in the units of the file: Hounsfield for CT.

        Raises:
            InputError: the file ends before its voxels do, or some are NaN or infinite.
        """
        if self._map is None:
            self._map = self._mapped()
        stored = np.ndarray(self._stored, self._proxy.dtype, self._map, self._proxy.offset, order="F")
        values = np.array(orientations.apply_orientation(stored, self._to_lps)[..., index].T)
        del stored
        self._map.madvise(mmap.MADV_DONTNEED)  # else every page that was read counts as ours until the end
        if (self._proxy.slope, self._proxy.inter) != (1, 0):
            values = values * np.float32(self._proxy.slope) + np.float32(self._proxy.inter)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise InputError(f"{self.path}: {count} voxels of slice {index} are NaN or infinite; repair the volume")
        return values

    def read(self, index: int, *, window: Window | None) -> np.ndarray:
        """Return one slice, float32 (H, W, 1) in [0, 1]; see Stack.read. Without a window, bytes are 0 to 255."""
        if window is None and self._proxy.dtype == np.uint8 and (self._proxy.slope, self._proxy.inter) == (1, 0):
            window = _BYTE
        if window is None:
            raise InputError(
                f"{self.path}: which values are black and white? This network learned from pictures and does not say; "
                "give --window LOW,HIGH"
            )
        return scaled(self.values(index), window)[..., None]

    def close(self) -> None:
        """Give back the file, and the temporary copy of a gzip file."""
        if self._map is not None:
            self._map.close()
        if self._unpacked is not None:
            self._unpacked.close()
        self._map = self._unpacked = None

    def write_mask(self, mask: np.ndarray, path: Path) -> Path:
        """Write a mask, uint8 (D, H, W), with this volume's axes, affine and codes; return `path`."""
        assert mask.shape == self.shape
        back = orientations.ornt_transform(_LPS, self._orientation)
        image = nib.Nifti1Image(orientations.apply_orientation(mask.transpose(2, 1, 0), back), self.affine)
        source = nib.load(self.path).header
        if isinstance(source, nib.Nifti1Header):
            image.header.set_xyzt_units(xyz="mm")
            image.set_qform(self.affine, int(source["qform_code"]))
            image.set_sform(self.affine, int(source["sform_code"]))
        image.header["cal_max"] = 1
        return _save(image, path)

    def _sources(self) -> tuple[int, ...]:
        """The stored axes that run from right to left, from front to back, and from the feet up."""
        return tuple(int(np.flatnonzero(self._orientation[:, 0] == axis)[0]) for axis in range(3))

    def _mapped(self) -> mmap.mmap:
        needed = self._proxy.offset + int(np.prod(self._stored)) * self._proxy.dtype.itemsize
        if self.path.suffix.lower() == ".gz":
            self._unpacked = _unpack(self.path)
            place = Path(self._unpacked.name)
        else:
            place = self.path
        with place.open("rb") as file:
            size = file.seek(0, 2)
            if size < needed:
                raise InputError(f"{self.path}: cut short: {size} of {needed} bytes; copy or download it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def write_volume(values: np.ndarray, path: Path, *, spacing_mm: tuple[float, float, float], axes: str = "RAS") -> Path:
    """Write a volume (D, H, W), its slices from the feet up, its rows from front to back; return `path`.

    Args:
        values: of the type that the file is to have.
        path: .nii or .nii.gz.
        spacing_mm: (slice, row, column).
        axes: where the file's own three axes point: one each of L or R, P or A, and I or S.
    """
    stored = values.transpose(2, 1, 0)
    turn = orientations.ornt_transform(_LPS, orientations.axcodes2ornt(tuple(axes)))
    deep, down, across = spacing_mm
    affine = np.diag([-across, -down, deep, 1.0]) @ orientations.inv_ornt_aff(turn, stored.shape)
    image = nib.Nifti1Image(orientations.apply_orientation(stored, turn), affine)
    image.header.set_xyzt_units(xyz="mm")
    return _save(image, path)


def _save(image: nib.Nifti1Image, path: Path) -> Path:
    with replacing(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:  # no name, no time: equal masks, equal bytes
                image.to_stream(packed)
        else:
            image.to_stream(file)
    return path


def _header(path: Path) -> nib.Nifti1Image:
    """Load a header; InputError names the file when that fails."""
    try:
        image = nib.load(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error) as error:
        empty = path.stat().st_size == 0
        reason = "the file is empty" if empty else f"not a NIfTI volume, or damaged ({_flat(error)})"
        raise InputError(f"{path}: {reason}; copy or download it again") from error
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{path}: not a NIfTI volume; save it as .nii or .nii.gz")
    return image


def _unpack(path: Path) -> IO[bytes]:
    """Unpack a gzip file into a temporary one that is gone when it is closed."""
    unpacked = tempfile.NamedTemporaryFile(prefix="tfseg-", suffix=".nii")  # noqa: SIM115 - its reader closes it
    try:
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.flush()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        unpacked.close()
        raise InputError(f"{path}: cut short or damaged ({_flat(error)}); copy or download it again") from error
    return unpacked


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
