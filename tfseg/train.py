"""One training: build, fit, remember every epoch, go on after a crash."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfseg import losses, models, runs
from tfseg.bench import machine
from tfseg.config import Recipe
from tfseg.data.pipeline import training_batches, validation_batches
from tfseg.data.pixels import Pixels
from tfseg.errors import InputError, WorkError
from tfseg.losses.curves import curve_metrics
from tfseg.models.adam import SGD, Adam, AdamW
from tfseg.models.files import open_file
from tfseg.models.presence import presence_loss, two_headed
from tfseg.models.pretrained import load_pretrained
from tfseg.models.standardize import standardize_input
from tfseg.models.statistics import estimate_statistics
from tfseg.progress import Watch
from tfseg.schedule import Clock, WarmupSchedule
from tfseg.teacher import distilled, taught

STATE = "state.npz"
_PATIENT_EPOCHS = 3  # before a loss that does not fall is worth a word
_FALLEN = 0.98  # of the first epoch's loss: an untrained network's varies by less
_IMAGES_MEASURED = 200  # at least, where there are as many, for the mean and deviation of their pixels
_STATISTICS_STEPS = 50  # batches, at least, that the statistics of batch norm are estimated from
CURVES = ("loss", "accuracy", "iou", "dice", "val_loss", "val_accuracy", "val_iou", "val_dice", "learning_rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One training of a recipe: which images it learns from and which it watches.

    Attributes:
        fold: its number; the seed of weights, order and augmentation is recipe.seed + fold.
        training: indices of the images to learn from.
        validation: indices of the images behind the validation curves.
        folder: where state, history and TensorBoard files go.
        teacher: the file of the network whose soft masks it learns from, too, or None.
    """

    fold: int
    training: Sequence[int]
    validation: Sequence[int]
    folder: Path
    teacher: Path | None = None


def check_task(recipe: Recipe, training_images: int) -> None:
    """Raise InputError when a fold has fewer training images than one batch."""
    if training_images < recipe.batch_size:
        raise InputError(
            f"batch_size = {recipe.batch_size}, but a fold has only {training_images} training images: "
            f"set batch_size to {training_images} or less"
        )


def train(recipe: Recipe, pixels: Pixels, task: Task, *, watch: Watch) -> keras.Model:
    """Train one network, from its last finished epoch where an earlier process left one.

    Returns:
        The network with the weights that `recipe.select` asks for, ending in logits.

    Raises:
        InputError: the pretrained weights do not fit.
        WorkError: the loss became NaN or infinite, or the pretrained weights could not be downloaded.
    """
    if recipe.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    seed = recipe.seed + task.fold
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    precision = recipe.settled(machine.this().flags).precision
    model = _build(recipe, pixels, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    classes = pixels.mask_shape[-1]
    if not (task.folder / STATE).exists():
        _start(model, recipe, pixels, task)
        keras.utils.set_random_seed(seed)  # building a published network draws numbers
    if recipe.presence == "yes":
        model = two_headed(model)
    steps, epochs = len(task.training) // recipe.batch_size, recipe.training_epochs(len(task.training))
    activation = losses.loss(recipe.loss).activation
    rate = _learning_rate(recipe, epochs * steps)
    model.compile(
        optimizer=_optimizer(recipe, rate),
        loss=_in_float32(_loss(recipe, task, classes)),
        metrics=[_of_masks(metric, classes) for metric in curve_metrics(activation, recipe.threshold)],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    blank = keras.ops.zeros((1, *pixels.mask_shape))
    model.compute_metrics(None, blank, blank)  # makes their variables now: else the step would be traced twice
    model.reset_metrics()
    memory = Memory(recipe, model, task, rate, epochs=epochs, steps=steps, watch=watch)
    memory.recall()
    watch("training", memory.epoch * steps, memory.epochs * steps)
    if not memory.finished:
        batches = training_batches(
            pixels,
            task.training,
            batch_size=recipe.batch_size,
            augment=recipe.augment,
            seed=seed,
            first_epoch=memory.epoch,
        )
        model.fit(
            taught(batches, open_file(task.teacher)[0], activation) if task.teacher else batches,
            validation_data=validation_batches(pixels, task.validation, batch_size=recipe.batch_size),
            steps_per_epoch=steps,
            initial_epoch=memory.epoch,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[memory, keras.callbacks.TensorBoard(task.folder / "tensorboard", write_graph=False)],
        )
    if recipe.ema:  # fit has done so at its end; a process that only took up a finished state has not
        model.optimizer.finalize_variable_values(model.trainable_variables)
    kept = memory.best if recipe.select == "best" else [np.array(value) for value in model.variables]
    trained = _build(recipe, pixels, "float32")
    _assign((two_headed(trained) if recipe.presence == "yes" else trained).variables, kept)
    if recipe.ema:
        batches = training_batches(
            pixels, task.training, batch_size=recipe.batch_size, augment=recipe.augment, seed=seed, first_epoch=epochs
        )
        estimate_statistics(trained, batches.take(max(steps, min(_STATISTICS_STEPS, epochs * steps))))
    return trained


class Memory(keras.callbacks.Callback):
    """Writes everything a training needs to go on after each epoch, and steers it by the validation loss.

    One file holds weights, optimizer, history and the steering's counters, so that no kill can part them. Keras's own
    EarlyStopping and ReduceLROnPlateau forget their counters between processes, which is why they are not used.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: keras.Model,
        task: Task,
        rate: float | WarmupSchedule,
        *,
        epochs: int,
        steps: int,
        watch: Watch,
    ) -> None:
        super().__init__()
        self.recipe, self.network, self.task, self.rate, self.watch = recipe, model, task, rate, watch
        self.most = self.epochs = epochs  # that the recipe asks for, and that fit into its minutes
        self.steps = steps  # of each epoch
        self.clock = Clock(recipe.minutes)  # starts here
        self.epoch = 0
        self.history: list[list[float]] = []
        self.best: list[np.ndarray] = []
        self.best_loss = math.inf
        self.idle = 0  # epochs since the lowest validation loss
        self.idle_rate = 0  # the same, since the learning rate was halved

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough passed without gain."""
        stopped = 0 < self.recipe.early_stopping <= self.idle
        return stopped or self.epoch >= self.epochs

    def recall(self) -> None:
        """Take up the state of an earlier process, if there is one."""
        path = self.task.folder / STATE
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as state:
            counters = json.loads(str(state["counters"]))
            _assign(self._variables(), [state[f"variable_{i}"] for i in range(counters["variables"])])
            self.best = [state[f"best_{i}"] for i in range(counters["best"])]
        self.epoch, self.history = counters["epoch"], counters["history"]
        self.best_loss, self.idle, self.idle_rate = counters["best_loss"], counters["idle"], counters["idle_rate"]
        if self.recipe.minutes:
            self.clock.durations_s = counters["durations_s"]
            self._fit_epochs()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Show progress; stop at once when the loss is no number."""
        logs = logs or {}
        if not math.isfinite(logs.get("loss", 0.0)):
            raise WorkError(
                f"fold {self.task.fold}: the loss became {logs['loss']} in epoch {self.epoch + 1}: "
                "lower learning_rate, or try another loss"
            )
        self.watch("training", self.epoch * self.steps + batch + 1, self.epochs * self.steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Steer, then write the state and the history."""
        logs = {"learning_rate": float(self.network.optimizer.learning_rate)} | (logs or {})
        self.epoch = epoch + 1
        self.history.append([logs[name] for name in CURVES])
        self._steer(logs["val_loss"])
        if self.recipe.minutes:
            self.clock.lap()
            self._fit_epochs()
        self._write()
        values = " ".join(f"{name} {logs[name]:.3f}" for name in ("loss", "dice", "val_dice"))
        done = self.epoch * self.steps
        detail = f"epoch {self.epoch}/{self.epochs} {values}{self._hint()}"
        self.watch("training", done, self.epochs * self.steps, detail)
        if self.finished:
            self.network.stop_training = True

    def _fit_epochs(self) -> None:
        """Set the number of passes, and with it the schedule, to what the recipe's minutes hold."""
        self.epochs = min(self.most, self.epoch + self.clock.epochs_left())
        if isinstance(self.rate, WarmupSchedule):
            self.rate.set_steps(self.epochs * self.steps)

    def _hint(self) -> str:
        """Return a warning as long as the loss has not fallen since the first epoch."""
        first = max(_PATIENT_EPOCHS, math.ceil(self.epochs * max(0.1, self.recipe.warmup)))
        losses_seen = [row[CURVES.index("loss")] for row in self.history]
        if self.epoch < first or min(losses_seen[1:]) < _FALLEN * losses_seen[0]:
            return ""
        return (
            f"; the loss has not fallen in {self.epoch} epochs ({losses_seen[0]:.3f} to {losses_seen[-1]:.3f}): "
            "try another learning_rate, loss or model"
        )

    def _steer(self, loss: float) -> None:
        if loss < self.best_loss:
            self.best_loss, self.idle, self.idle_rate = loss, 0, 0
            if self.recipe.select == "best":
                self.best = [np.array(variable) for variable in self.network.variables]
            return
        self.idle, self.idle_rate = self.idle + 1, self.idle_rate + 1
        if self.recipe.schedule == "plateau" and self.idle_rate >= self.recipe.patience:
            self.network.optimizer.learning_rate.assign(self.network.optimizer.learning_rate / 2)
            self.idle_rate = 0

    def _write(self) -> None:
        variables = [np.array(variable) for variable in self._variables()]
        counters = {
            "epoch": self.epoch,
            "history": self.history,
            "best_loss": self.best_loss,
            "idle": self.idle,
            "idle_rate": self.idle_rate,
            "variables": len(variables),
            "best": len(self.best),
        }
        if self.recipe.minutes:
            counters["durations_s"] = self.clock.durations_s
        arrays = {"counters": np.array(json.dumps(counters))}
        arrays |= {f"variable_{i}": value for i, value in enumerate(variables)}
        arrays |= {f"best_{i}": value for i, value in enumerate(self.best)}
        with runs.replacing(self.task.folder / STATE) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)
        rows = ([epoch, *values] for epoch, values in enumerate(self.history, 1))
        runs.write_csv(self.task.folder / runs.HISTORY, ("epoch", *CURVES), rows)

    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self.network.optimizer.variables]


def _build(recipe: Recipe, pixels: Pixels, policy: str) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        presence = "" if recipe.presence == "yes" else None
        return models.build(recipe.model, pixels.image_shape, pixels.mask_shape[-1], presence=presence)
    finally:
        keras.config.set_dtype_policy(before)


def _start(model: keras.Model, recipe: Recipe, pixels: Pixels, task: Task) -> None:
    """Give a new network published weights, or fit its random numbers to the training images."""
    if recipe.weights not in ("", "none"):
        load_pretrained(model, recipe.model, recipe.weights)
        return
    chosen = task.training[:: max(1, len(task.training) // _IMAGES_MEASURED)]
    values = np.stack([pixels.read(index)[0] for index in chosen]).reshape(-1, pixels.image_shape[-1]) / np.float32(255)
    standardize_input(model, values.mean(axis=0), np.maximum(values.std(axis=0), 1 / 255))


def _loss(recipe: Recipe, task: Task, classes: int) -> Callable[[Any, Any], Any]:
    row = losses.loss(recipe.loss)
    loss = distilled(row.load(), row.activation, recipe.teacher_weight) if task.teacher else row.load()
    return presence_loss(loss, classes, recipe.presence_weight) if recipe.presence == "yes" else loss


def _of_masks(metric: Callable[[Any, Any], Any], classes: int) -> Callable[[Any, Any], Any]:
    """Let a metric see the masks and their logits alone, without a teacher's or presence; it keeps its name."""

    @functools.wraps(metric)
    def masks_only(y_true: Any, outputs: Any) -> Any:
        return metric(y_true[..., :classes], keras.ops.cast(outputs[..., :classes], "float32"))

    return masks_only


def _in_float32(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Give a loss or metric its logits in float32, whatever the network computes in."""

    @functools.wraps(function)
    def cast(y_true: Any, logits: Any) -> Any:
        return function(y_true, keras.ops.cast(logits, "float32"))

    return cast


def _learning_rate(recipe: Recipe, steps: int) -> float | WarmupSchedule:
    """Return the rate of a training of so many steps, or its schedule."""
    if recipe.schedule == "plateau" or not (recipe.warmup or recipe.schedule == "cosine"):
        return recipe.learning_rate
    return WarmupSchedule(recipe.learning_rate, steps, warmup=recipe.warmup, cosine=recipe.schedule == "cosine")


def _optimizer(recipe: Recipe, rate: Any) -> keras.optimizers.Optimizer:
    options: dict[str, Any] = {"use_ema": recipe.ema > 0, "ema_momentum": recipe.ema}
    options["weight_decay" if recipe.optimizer == "adamw" else "l2"] = recipe.weight_decay
    if recipe.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    return {"adam": Adam, "adamw": AdamW, "sgd": SGD}[recipe.optimizer](rate, **options)


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
