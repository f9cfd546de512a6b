from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from tfseg.data import hc18
from tfseg.data.files import read_table
from tfseg.errors import InputError
from tfseg.measures import shape

REAL = Path(__file__).parents[2] / "../shared/data/hc18"
HEADER = "filename,pixel size(mm),head circumference (mm)\n"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (80, 54))
    ImageDraw.Draw(image).ellipse((20, 10, 60, 40), outline=255, width=2)
    image.save(path)


@pytest.mark.parametrize(("images", "annotations"), [("image", "annotation"), ("training_set", "training_set")])
def test_heads_are_listed_with_subject_and_spacing(tmp_path, images, annotations):
    for stem in ("023_2HC", "023_HC", "004_HC"):
        save(tmp_path / images / f"{stem}.png")
        save(tmp_path / annotations / f"{stem}_Annotation.png")
    save(tmp_path / annotations / "999_HC_Annotation.png")
    rows = "004_HC.png,0.2,1\n023_HC.png,0.1,1\n023_2HC.png,0.15,1\n777_HC.png,0.3,1\n"
    (tmp_path / hc18.TABLE).write_text(HEADER + rows)
    rows_without_circumference = "\n".join(line.rpartition(",")[0] for line in (HEADER + rows).splitlines())
    listed = hc18.samples(tmp_path)
    assert [(s.image.stem, s.patient, s.spacing_mm) for s in listed] == [
        ("004_HC", "004", (0.2, 0.2)),
        ("023_2HC", "023", (0.15, 0.15)),
        ("023_HC", "023", (0.1, 0.1)),
    ]
    assert {sample.circumference_mm for sample in listed} == {1}
    (tmp_path / hc18.TABLE).write_text(rows_without_circumference)
    assert {sample.circumference_mm for sample in hc18.samples(tmp_path)} == {None}
    assert [sample.masks[0].stem for sample in listed] == [f"{s.image.stem}_Annotation" for s in listed]
    assert [path.stem for path in hc18.orphans(tmp_path)] == ["999_HC_Annotation"]


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        pytest.param("001_HC.png", None, r"\.csv: cannot read this table", id="no-table"),
        pytest.param("001_HC.png", HEADER, r"\.csv: has no row for 001_HC\.png", id="no-row"),
        pytest.param(
            "001_HC.png", HEADER + "001_HC.png,x,1\n", r"\.csv: line 2: .*'x' is not a number", id="no-number"
        ),
        pytest.param(
            "001_HC.png", HEADER + "001_HC.png,1,-\n", r"line 2: head circumference \(mm\).*'-' is not", id="no-length"
        ),
        pytest.param("001_HC.png", "a,b\n1,2\n", r"\.csv: has no columns 'filename'", id="other-columns"),
        pytest.param("head.png", HEADER, r"head\.png: not named as 023_2HC\.png is", id="no-subject"),
    ],
)
def test_wrong_tables_and_names_are_refused(tmp_path, name, table, message):
    save(tmp_path / "image" / name)
    if table is not None:
        (tmp_path / hc18.TABLE).write_text(table)
    with pytest.raises(InputError, match=message):
        hc18.samples(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="hc18 is not beside this checkout")
def test_all_real_heads_are_filled():
    listed = hc18.samples(REAL)
    assert len(listed) == 117
    assert len({sample.patient for sample in listed}) == 80
    assert listed[0].image.name == "000_HC.png"
    assert listed[0].spacing_mm == (0.0691358041432, 0.0691358041432)
    assert hc18.orphans(REAL) == []
    measured_mm = {row["filename"]: float(row["head circumference (mm)"]) for _, row in read_table(REAL / hc18.TABLE)}
    for sample in listed:
        mask = hc18.DATASET.read_mask(sample, (540, 800))[..., 0]
        with Image.open(sample.masks[0]) as annotation:
            drawn = np.asarray(annotation) > 0
        flooded = ndimage.binary_fill_holes(drawn)
        assert np.all(flooded[mask > 0])
        # Half of the line stays out; its pixels, some 1,500, are a quarter of a pixel off.
        assert (flooded & (mask == 0)).sum() == pytest.approx(drawn.sum() / 2, rel=0.2)
        assert sample.spacing_mm is not None
        assert sample.circumference_mm == measured_mm[sample.image.name]
        measured = shape(mask, spacing_mm=sample.spacing_mm, ellipse=True).circumference
        # Of 65 mm and more; the masks are on a grid, and 0.05 mm is a quarter of a pixel.
        assert measured == pytest.approx(sample.circumference_mm, abs=0.05)
