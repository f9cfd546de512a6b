"""One fold of nnU-Net v2 in two dimensions on a CPU: python nnunet_worker.py FOLDER DATA (see peer_job.py).

DATA is WORK/raw/Dataset001_NAME; WORK/preprocessed/Dataset001_NAME/splits_final.json holds the folds. Fingerprint,
plans and preprocessing are nnU-Net's own, made once for each row. Its trainer makes its own steps (network, loss, deep
supervision, augmentation, optimizer) until the time is over. Departures, for the time's sake: the polynomial schedule
follows the share of the time that has passed and not epochs, and no pseudo-validation is made between epochs.
"""

# pyright: reportMissingImports=false

import json
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import peer_job
import torch

DATASET = 1
EPOCH = 250  # steps, as nnU-Net counts them


def main() -> None:
    """Plan, train, predict, export."""
    job, folder, data = peer_job.arguments()
    work = data.parents[1]
    os.environ |= {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": str(job.threads), "nnUNet_compile": "f"}
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(job.fold)
    peer_job.import_torchvision()
    trainer = timed_trainer(job, plan(job, data, work / "preprocessed" / data.name), data)
    trainer.initialize()
    trainer.run_training()
    trainer.set_deep_supervision_enabled(False)
    network = trainer.network.eval()
    passes = 0
    for case, mask, count in predictions(job, trainer, data):
        peer_job.write_prediction(job, folder, case, mask)
        passes += count
    shape = (1, trainer.num_input_channels, *trainer.configuration_manager.patch_size)
    about = {"batch_size": trainer.batch_size, "epochs": round(trainer.steps / EPOCH, 2)}
    versions = {name: version(name) for name in ("torch", "nnunetv2")}
    made = {"steps": trainer.steps, "cpu_s": round(trainer.cpu_s, 1), "plan": about}
    peer_job.finish(folder, network, shape, passes=passes / len(job.test), versions=versions, **made)


def plan(job: peer_job.Job, data: Path, preprocessed: Path) -> dict[str, Any]:
    """Return the plans of a row of settings, after nnU-Net has made them and its data, where they are missing.

    With "longest_side" images are resampled to that many pixels, at the median, by the spacing that nnU-Net plans for.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    name = f"{job.row}Plans"
    done = preprocessed / f"{name}.done"
    if not done.exists():
        sides = [max(peer_job.read(path).shape) for path in data.glob("imagesTr/*.png")]
        spacing = (side := job.settings["longest_side"]) and float(np.median(sides)) / side
        api.extract_fingerprints([DATASET], num_processes=job.threads, check_dataset_integrity=True)
        api.plan_experiments(
            [DATASET],
            gpu_memory_target_in_gb=job.settings["memory_gb"],
            overwrite_target_spacing=spacing and (999.0, spacing, spacing),  # 999: what its PNG reader calls the third
            overwrite_plans_name=name,
        )
        api.preprocess([DATASET], name, ("2d",), (job.threads,))
        done.touch()
    return json.loads((preprocessed / f"{name}.json").read_text())


def timed_trainer(job: peer_job.Job, plans: dict[str, Any], data: Path) -> Any:
    """Return the trainer that the settings name, which makes steps for the job's seconds instead of epochs."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    package = "nnunetv2.training.nnUNetTrainer"
    folder = Path(nnunetv2.__path__[0], "training", "nnUNetTrainer")
    base: Any = recursive_find_python_class(str(folder), job.settings["trainer"], package)

    class TimedTrainer(base):
        """nnU-Net's trainer, by the clock."""

        steps = 0
        cpu_s = 0.0  # without the process that augments images

        def run_training(self) -> None:
            """Make steps until the time is over."""
            self.disable_checkpointing = True
            self.on_train_start()
            self.network.train()
            start, cpu, shown = time.perf_counter(), time.process_time(), 0.0
            while (passed := time.perf_counter() - start) < job.seconds:
                for group in self.optimizer.param_groups:
                    group["lr"] = self.initial_lr * (1 - passed / job.seconds) ** 0.9
                loss = float(self.train_step(next(self.dataloader_train))["loss"])
                self.steps += 1
                if passed >= shown:
                    self.print_to_log_file(f"{passed:.0f} s, step {self.steps}, loss {loss:.4f}")
                    shown += job.seconds / 20
            self.cpu_s = time.process_time() - cpu
            self.on_train_end()

    dataset = json.loads((data / "dataset.json").read_text())
    return TimedTrainer(plans | {"continue_training": False}, "2d", job.fold, dataset, torch.device("cpu"))


def predictions(job: peer_job.Job, trainer: Any, data: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield each held-out case, its mask (H, W) as nnU-Net predicts it, and how often it ran the network for that."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=job.settings["mirroring"],
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    reader = trainer.plans_manager.image_reader_writer_class()
    runs: list[None] = []
    hook = trainer.network.register_forward_hook(lambda *_: runs.append(None))
    for case in job.test:
        image, about = reader.read_images([str(peer_job.image_path(data, case))])
        before = len(runs)
        mask = predictor.predict_single_npy_array(image, about)[0]
        yield case, mask, len(runs) - before
    hook.remove()


if __name__ == "__main__":
    main()
