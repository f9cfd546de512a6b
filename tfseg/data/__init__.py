"""The data sets tfseg knows: a new one is one module and one row here."""

import difflib

from tfseg.data import busi, ct2us, folder, hc18, lits, nerve, open_kidney, usgra
from tfseg.data.sample import Dataset
from tfseg.errors import InputError

DATASETS: dict[str, Dataset] = {
    "nerve": nerve.DATASET,
    "busi": busi.DATASET,
    "ct2us": ct2us.DATASET,
    "open_kidney": open_kidney.SONOGRAPHER_1,
    "open_kidney_2": open_kidney.SONOGRAPHER_2,
    "usgra": usgra.DATASET,
    "hc18": hc18.DATASET,
    "lits": lits.DATASET,
    "folder": folder.DATASET,
}


def dataset(name: str) -> Dataset:
    """Return the data set of that name; InputError, with the names that come close, for one we do not know.

    >>> dataset("nerve").classes
    ('nerve',)
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(DATASETS)}"
        raise InputError(f"unknown data set {name!r}: {hint}")
    return DATASETS[name]
