"""Lists a data set's files and reads its tables; what a user can have wrong is refused in one line."""

import csv
import os
import re
from pathlib import Path

from tfseg.errors import InputError


def images_in(folder: Path, *, nested: bool = False) -> list[Path]:
    """List the image files in `folder`, in natural order (frame 2 before frame 10); [] where there is no such folder.

    Hidden files and folders are left out: macOS puts a `._7_31.tif` beside every `7_31.tif`.

    Args:
        folder: where to look.
        nested: look into its subfolders too, and follow links.

    Raises:
        InputError: a folder cannot be read.
    """
    from tfseg.data.images import SUFFIXES  # imports OpenCV: `import tfseg.data` has to answer without it

    if not is_folder(folder):
        return []
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if nested and not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted((path for path in found if path.suffix.lower() in SUFFIXES), key=natural_order)


def folders_in(folder: Path) -> list[Path]:
    """List the folders that lie directly in `folder`; InputError where it cannot be read."""
    require_folder(folder)
    return [Path(folder, name) for name in sorted(next(os.walk(folder, onerror=_refuse))[1])]


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a sort key that compares the numbers in a path as numbers.

    >>> sorted([Path("10_1.tif"), Path("2_11.tif"), Path("2_9.tif")], key=natural_order)[0].name
    '2_9.tif'
    """
    parts = re.split(r"(\d+)", path.as_posix())  # every second part is a number
    return [int(part) if index % 2 else part.lower() for index, part in enumerate(parts)], str(path)


def is_folder(path: Path) -> bool:
    """Tell whether `path` is a folder; InputError where a parent's permissions do not let one know."""
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: cannot be looked at ({error.strerror})") from error


def require_folder(path: Path) -> None:
    """Raise InputError unless `path` is a folder."""
    if not is_folder(path):
        raise InputError(f"{path}: {'is a file, not a folder' if path.exists() else 'no such folder'}")


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot read this folder ({error.strerror})") from error


def wrong_layout(root: Path, layout: str) -> InputError:
    """Return the error of a folder that holds none of a data set's images."""
    require_folder(root)
    _, folders, names = next(os.walk(root, onerror=_refuse))
    what = "the images are not where they should be" if folders or names else "the folder is empty"
    return InputError(f"{root}: {what}; expected {layout}")


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header: (line number, column -> text without blanks round it) of every row.

    Raises:
        InputError: it cannot be read, is not UTF-8, or a row has more or fewer fields than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"{path}: cannot read this table ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{path}: line {line} has more or fewer fields than the header")
    return [(line, {name.strip(): text.strip() for name, text in row.items()}) for line, row in rows]


def positive_number(text: str, *, where: str) -> float:
    """Return the number in `text`; InputError, which begins with `where`, unless it is finite and above zero."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise InputError(f"{where}: {text!r} is not a number above zero")
    return number
