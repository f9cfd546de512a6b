"""What the notebooks call: the commands' own parts in one call each, without output, and pictures of what came out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tfseg import runs
from tfseg.config import Recipe
from tfseg.data import DATASETS
from tfseg.data.images import read_image
from tfseg.data.source import Source, open_source
from tfseg.metrics import Row
from tfseg.overlays import overlay, stamp, to_rgb
from tfseg.progress import silent
from tfseg.report.record import Record, read_record

if TYPE_CHECKING:
    from tfseg.bench.result import Cell

TILE = 300  # width of a picture in a mosaic, in pixels


def open_folder(root: Path, *, dataset: str = "folder", channels: int = 1) -> Source:
    """Open a folder of images, checked as `tfseg data check` does; InputError where training on it would be wrong."""
    return open_source(DATASETS[dataset], root, channels=channels, watch=lambda done, total: None)


def cross_validate(source: Source, run: Path, **settings: Any) -> Record:
    """Cross-validate as `tfseg kfold` does, without its report, and return what the run holds; what is done stays.

    Args:
        source: the images.
        run: the run folder.
        settings: keys of a recipe; what is not named has its default.

    Raises:
        InputError: a setting is wrong, or the run was begun with others.
        WorkError: a training failed.
    """
    from tfseg.commands.opening import load_tensorflow

    recipe = Recipe.from_mapping({"dataset": source.dataset.name, **settings})
    with runs.locked(run):
        load_tensorflow()
        from tfseg.kfold import kfold

        kfold(recipe, source, run, command=["tfseg.notebook.cross_validate", str(run)], watch=silent)
    return read_record(run)


def ship(source: Source, run: Path, kind: str = "int8") -> Path:
    """Convert a finished run as `tfseg convert --int8` does, and return the file; one that is there stays as it is."""
    from tfseg.commands.opening import load_tensorflow

    recipe = runs.read_recipe(run)
    out = run / f"{recipe.model.replace('@', '_')}-{kind}.tflite"
    if not out.exists():
        with runs.locked(run):
            load_tensorflow()
            from tfseg import deploy
            from tfseg.job import Job
            from tfseg.lite.convert import Options

            deploy.ship(Job(recipe=recipe, source=source, run=run, watch=silent), Options.of(kind), out)
    return out


def measure(file: Path, results: Path, *, threads: int = 1, inferences: int = 20) -> "Cell":
    """Time a .tflite file on this computer as `tfseg benchmark` does, and keep the result in the folder `results`."""
    from tfseg.bench import host, matrix, result
    from tfseg.bench.matrix import Matrix

    asked = Matrix(precisions=matrix.PRECISIONS, delegates=("cpu",), threads=(threads,), runs=inferences)
    (task,) = matrix.file_tasks(matrix.called(file), file, asked)
    cell = host.measure(task)
    result.write(results, cell)
    return cell


def drawn(source: Source, name: str, predict: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """Return an image with the annotator's outline and, dashed, that of a predicted mask: uint8 (H, W, 3).

    Args:
        source: the images.
        name: of one, a key of `source.samples`.
        predict: image (H, W, 1) in [0, 1] -> mask (H, W, K); None shows the annotator's outline alone.
    """
    sample = source.samples[name]
    image = read_image(sample.image, channels=1)
    truth = source.dataset.read_mask(sample, image.shape[:2])
    picture = overlay(image, truth, predict(image) if predict else None)
    return stamp(picture, "PHANTOM") if source.phantom else picture


def stored(run: Path, row: Row) -> Callable[[np.ndarray], np.ndarray]:
    """Return the mask that a run drew in an image it never saw, in the form of `drawn`'s `predict`."""
    path = (runs.fold_folder(run, int(row.fold)) / runs.PREDICTIONS / row.image).with_suffix("")
    mask = read_image(path.with_name(f"{path.name}_{row.class_name}.png"), channels=1)
    return lambda image: (mask > 0.5).astype(np.uint8)


def mosaic(pictures: Sequence[np.ndarray], *, columns: int = 3) -> Image.Image:
    """Set pictures, (H, W, 1 or 3) in [0, 1] or uint8 (H, W, 3), in rows, each scaled to the same width."""
    tiles = [_tile(picture) for picture in pictures]
    height = max(tile.height for tile in tiles)
    whole = Image.new("RGB", (min(columns, len(tiles)) * TILE, -(-len(tiles) // columns) * height), "white")
    for place, tile in enumerate(tiles):
        whole.paste(tile, (place % columns * TILE, place // columns * height))
    return whole


def _tile(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture if picture.dtype == np.uint8 else to_rgb(picture))
    return image.resize((TILE, round(image.height * TILE / image.width)))
