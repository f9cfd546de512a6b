"""Distillation: a network learns from the masks that annotators drew, and from the soft masks of a larger network.

After Hinton et al. (Distilling the Knowledge in a Neural Network, NIPS 2014 workshop, arXiv:1503.02531), pixel by
pixel. Departure: no temperature, for a probability between 0 and 1 along the outline is what a teacher has to add.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfseg import losses, runs
from tfseg.activation import activate
from tfseg.config import Recipe
from tfseg.data.source import Source
from tfseg.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]


def check_teacher(recipe: Recipe, split: dict[str, list[str]], source: Source) -> None:
    """Raise InputError where the recipe's teacher may not teach: its networks have seen other patients, or do not fit.

    Args:
        recipe: of the student.
        split: the student's folds.
        source: the student's data.
    """
    run = Path(recipe.teacher)
    theirs = runs.read_recipe(run)
    if runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"] != source.fingerprint:
        raise InputError(f"{run}: learned from other images than these, so that its folds are none of ours")
    if runs.read_json(run / runs.FOLDS) != split:
        raise InputError(
            f"{run}: has other folds, so that its networks may have seen patients that are held out here: "
            f"give this run its folds, holdout and seed ({theirs.folds}, {theirs.holdout:g}, {theirs.seed})"
        )
    select, activation = source.dataset.select, losses.loss(theirs.loss).activation
    for name, there, here in (
        ("classes", ", ".join(select(theirs.classes)), ", ".join(select(recipe.classes))),
        ("image_size", theirs.image_size, recipe.image_size),
        ("channels", theirs.channels, recipe.channels),
        ("activation", activation, losses.loss(recipe.loss).activation),
    ):
        if there != here:
            raise InputError(f"{run}: its {name}: {there}; ours: {here}; a teacher sees and says what its student does")
    for path in networks(recipe):
        if not path.exists():
            raise InputError(f"{path}: no network to learn from; finish the teacher's run (--resume; --final, too)")


def networks(recipe: Recipe) -> list[Path]:
    """Return the files of all networks that teach in a run."""
    return [network(recipe, fold) for fold in range(recipe.folds)] + ([network(recipe, None)] if recipe.final else [])


def network(recipe: Recipe, fold: int | None) -> Path:
    """Return the file of the network that teaches a fold, or (None) the final network."""
    run = Path(recipe.teacher)
    return (run / runs.FINAL if fold is None else runs.fold_folder(run, fold)) / runs.MODEL


def taught(batches: "tf.data.Dataset", teacher: "keras.Model", activation: str) -> "tf.data.Dataset":
    """Put the teacher's probabilities of each augmented image behind its mask: (B, S, S, 2 K) float32."""
    import tensorflow as tf

    def both(images: "tf.Tensor", masks: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        soft = activate(teacher(images, training=False), activation)
        return images, tf.concat([tf.cast(masks, tf.float32), soft], axis=-1)

    return batches.map(both).prefetch(1)


def distilled(loss: Loss, activation: str, weight: float) -> Loss:
    """Return the task's loss plus `weight` times the cross-entropy with the teacher's probabilities.

    Where `y_true` has no more than the masks, as in validation, it is the task's loss alone.
    """
    soft_loss = losses.loss({"sigmoid": "bce", "softmax": "ce"}[activation]).load()

    def both(y_true: Tensor, logits: Tensor) -> Tensor:
        classes = logits.shape[-1]
        task = loss(y_true[..., :classes], logits)
        if y_true.shape[-1] == classes:
            return task
        return task + weight * soft_loss(y_true[..., classes:], logits)

    return both
