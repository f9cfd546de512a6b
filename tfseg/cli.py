"""The command line: parses, refuses what is wrong at once, prints; what is heavy loads inside a command."""

import argparse
import errno
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tfseg import __version__
from tfseg.errors import InputError, WorkError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 all done, 1 the work failed, 2 wrong call or data, 130 stopped."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
        arguments.run_command(arguments)
    except InputError as error:
        return _complain(str(error), 2)
    except WorkError as error:
        return _complain(str(error), 1)
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        return _complain(f"{place}{error.strerror}{_remedy(error)}", 2 if refused else 1)
    except KeyboardInterrupt:
        return _complain(_stopped(), 130)
    return 0


class _Parser(argparse.ArgumentParser):
    """argparse, with its complaints in one line, and without guessing at shortened flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tfseg", description="Medical image segmentation that ends on a phone, scored as the file that ships."
    )
    parser.add_argument("--version", action="version", version=f"tfseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    kfold = _command(commands, "kfold", "training.kfold", "train k networks, each scored on patients it never saw")
    _training_arguments(kfold)
    kfold.add_argument(
        "--final", action="store_true", default=None, help="train once more on all patients, for the file to ship"
    )
    _engine_arguments(kfold)
    train = _command(commands, "train", "training.train", "train one network: the first fold of kfold alone")
    _training_arguments(train)

    evaluate = _command(
        commands, "evaluate", "training.evaluate", "score a run's networks again, on its own or other data"
    )
    evaluate.add_argument("run", type=Path, metavar="RUN", help="a run folder, or a .tflite file")
    evaluate.add_argument("--dataset", metavar="NAME", help="another data set than the run's")
    evaluate.add_argument("--data", type=Path, metavar="DIR", help="where its images are")
    evaluate.add_argument(
        "--map", metavar="A=B,...", help="score the network's class A against the data set's class B; else by name"
    )
    _flips_argument(evaluate)
    _json_argument(evaluate)

    convert = _command(
        commands, "convert", "shipping.convert", "turn a run's network into the .tflite file that ships, and prove it"
    )
    convert.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="RUN | MODEL.keras",
        help="a run folder (else the newest one), or a network",
    )
    for precision, text in (
        ("fp32", "32-bit numbers"),
        ("fp16", "16-bit weights: half the size"),
        ("dynamic", "8-bit weights, float activations"),
        ("int8", "8-bit numbers throughout, calibrated on images that the network learned from"),
        ("int8-qat", "the same, after fine-tuning the network as it computes in 8 bits (extra qat)"),
    ):
        convert.add_argument(
            f"--{precision}", dest="precisions", action="append_const", const=precision, default=[], help=text
        )
    convert.add_argument(
        "--prune",
        dest="precisions",
        action="append",
        type=_pruned,
        metavar="SHARE",
        help="int8, after fine-tuning with that share of the weights at zero: smaller when zipped (extra qat)",
    )
    convert.add_argument("--sensitivity", action="store_true", help="rank layers by what 8 bits in each alone cost")
    convert.add_argument("--input", default="uint8", metavar="uint8|float32", help="camera bytes, or 0 to 1")
    convert.add_argument("--head", default="probability", metavar="probability|mask|logits", help="what comes out")
    convert.add_argument("--image-size", type=int, metavar="PIXELS", help="another size than that of the training")
    convert.add_argument("--keep-float", default="", metavar="REGEX", help="layers of an int8 file to keep in float")
    convert.add_argument("--calibration", type=Path, metavar="DIR", help="images for --int8 of a MODEL.keras")
    convert.add_argument("--data", type=Path, metavar="DIR", help="where the run's images are now")
    convert.add_argument("--out", type=Path, metavar="FILE", help="else RUN/MODEL-PRECISION.tflite")
    convert.add_argument(
        "--max-drop", type=float, default=0.005, metavar="DICE", help="fail when the file loses more (default 0.005)"
    )
    _json_argument(convert)

    predict = _command(commands, "predict", "predicting.predict", "write masks of images at their original resolution")
    predict.add_argument(
        "run", type=Path, metavar="RUN", help="a run folder (the mean of its folds), a .keras or a .tflite file"
    )
    predict.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT", help="images, NIfTI, DICOM or video, or folders of them"
    )
    predict.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the masks go")
    predict.add_argument("--overlay", action="store_true", help="also write each image with the mask's outline")
    predict.add_argument("--rle", type=Path, metavar="FILE.csv", help="also write Kaggle's run-length CSV")
    predict.add_argument("--class", dest="class_name", metavar="NAME", help="only this class")
    predict.add_argument("--fold", type=int, metavar="K", help="one fold's network instead of the mean of all")
    _flips_argument(predict)
    predict.add_argument(
        "--region", type=Path, metavar="RUN", help="what finds the region of a volume that RUN looks at: a cascade"
    )
    predict.add_argument("--window", metavar="LOW,HIGH", help="values of a volume that are black and white")
    _json_argument(predict)

    inspect = _command(commands, "inspect", "shipping.inspect", "what a .tflite file holds, costs, and asks of a phone")
    inspect.add_argument("file", type=Path, metavar="FILE", help="a .tflite file, of any tool")
    inspect.add_argument("--gpu", action="store_true", help="also run it on the GPU accelerator")
    _json_argument(inspect)

    benchmark = _command(commands, "benchmark", "shipping.benchmark", "how fast a .tflite file is, here or on a phone")
    _benchmark_arguments(benchmark)

    report = _command(
        commands,
        "report",
        "training.report",
        "write report.html again from the run's files, or a page about benchmarks",
    )
    report.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run folder")
    report.add_argument(
        "--benchmark", type=Path, nargs="+", metavar="DIR", help="results of benchmarks; the page goes into the first"
    )

    _card_arguments(_command(commands, "card", "training.card", "write a model card of a run, in Markdown"))
    _demo_arguments(_command(commands, "demo", "demo.demo", "a page that runs .tflite files live, here or on a phone"))

    _json_argument(
        _command(commands, "models", "networks.listing", "list the networks with their parameters and GMACs")
    )
    bring = _command(commands, "import", "networks.bring", "turn published PyTorch weights into a network file")
    bring.add_argument("weights", type=Path, metavar="WEIGHTS", help=".safetensors, or .pt, .pth, .bin (with torch)")
    bring.add_argument("--model", required=True, metavar="NAME", help="see `tfseg models`")
    bring.add_argument("--out", type=Path, required=True, metavar="FILE.keras")
    bring.add_argument("--image-size", type=int, default=256, metavar="PIXELS")
    bring.add_argument("--classes", metavar="A,B", help="what the channels of its logits stand for; else class1, ...")
    _json_argument(bring)

    study = _command(commands, "study", "studying.study", "repeat a published study: all of its runs, and its table")
    _study_arguments(study)
    compare = _command(commands, "compare", "studying.compare", "runs side by side on the same images, with intervals")
    compare.add_argument("runs", nargs="+", metavar="RUN[:FILE]", help="run folders, or one file of each: RUN:int8")
    _json_argument(compare)

    data = commands.add_parser("data", help="list, check, simulate and download data sets", description="Data sets.")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=_Parser)
    _json_argument(_command(actions, "list", "datasets.listing", "what is known, and where it is looked for"))
    check = _command(
        actions, "check", "datasets.check", "what is wrong with a folder; status 2 when training on it would be"
    )
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument("--dataset", required=True, metavar="NAME")
    check.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="also which masks vanish at that size, and the Dice left to reach",
    )
    _json_argument(check)
    phantom = _command(actions, "phantom", "datasets.phantom", "simulate a data set in its own layout")
    phantom.add_argument("name", metavar="NAME")
    phantom.add_argument("folder", type=Path, metavar="DIR")
    phantom.add_argument("--subjects", type=int, default=20, metavar="N")
    phantom.add_argument("--frames", type=int, default=10, metavar="N", help="of each subject")
    phantom.add_argument("--seed", type=int, default=0, metavar="N")
    get = _command(actions, "get", "datasets.get", "download with your own Kaggle credentials")
    get.add_argument("name", metavar="NAME")

    _json_argument(
        _command(commands, "doctor", "doctoring.doctor", "what is missing here for which command, and what mends it")
    )
    completion = _command(commands, "completion", "completing.completion", "print a script that lets a shell complete")
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), help='then, in bash: eval "$(tfseg completion bash)"'
    )
    completion.set_defaults(parser=parser)
    return parser


def _command(commands: "argparse._SubParsersAction", name: str, function: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run_command=_lazily(function))
    return parser


def _pruned(share: str) -> str:
    """Return the kind of file that `--prune SHARE` asks for."""
    return f"int8-pruned-{float(share):g}"


def _lazily(function: str) -> Callable[[argparse.Namespace], None]:
    def run(arguments: argparse.Namespace) -> None:
        module, _, name = function.partition(".")
        getattr(importlib.import_module(f"tfseg.commands.{module}"), name)(arguments)

    return run


def _benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="RUN | FILE",
        help=".tflite files, or the files of a run (else the newest)",
    )
    parser.add_argument(
        "--target", choices=("host", "android"), default="host", help="this computer (default), or a phone"
    )
    parser.add_argument("--threads", metavar="1,2,4", help="of the CPU, each measured (default 1)")
    parser.add_argument(
        "--delegate",
        choices=("cpu", "gpu", "gpu-fp32"),
        default="cpu",
        help="what runs the file; gpu may compute in half precision (default cpu)",
    )
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="timed inferences, at least (default 50)")
    parser.add_argument("--serial", metavar="S", help="which phone, where there are several")
    parser.add_argument("--harness", type=Path, metavar="PATH", help="Google's benchmark_model for the phone")
    parser.add_argument("--prepare", action="store_true", help="screen on, airplane mode; put back at the end")
    parser.add_argument("--json", type=Path, metavar="DIR", help="where one JSON file for each measurement goes")


def _card_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run folder (else the newest one)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="else RUN/MODEL_CARD.md")
    parser.add_argument(
        "--benchmark", type=Path, nargs="+", default=[], metavar="DIR", help="results of tfseg benchmark --json"
    )


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="*", metavar="RUN | FILE", help="a run (else the newest), or .tflite")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="of the page's server (default 8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="who reaches it (default: this computer)"
    )
    parser.add_argument("--clip", type=Path, metavar="FILE", help="the test video; else a simulated one")
    parser.add_argument("--android", action="store_true", help="open the page on a phone that adb finds")
    parser.add_argument("--serial", metavar="S", help="which phone, where there are several")


def _training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="see `tfseg data list`; nerve unless a recipe says otherwise")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where the images are; else $TFSEG_DATA/NAME, the cache, a phantom"
    )
    parser.add_argument("--model", metavar="NAME", help="see `tfseg models`")
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="what it starts from: imagenet, none, a preset of keras-cv, a .keras file",
    )
    parser.add_argument(
        "--teacher", metavar="RUN", help="learn from the soft masks of this run's networks, too (same folds, same size)"
    )
    parser.add_argument("--folds", type=int, metavar="K")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="train each network for that long at most; its schedule is fitted"
    )
    parser.add_argument("--image-size", type=int, metavar="PIXELS")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument(
        "--deploy", metavar="FILES", help="also score these files: any of fp16,dynamic,int8,int8-qat (fp32 comes along)"
    )
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="TOML; else the data set's own in tfseg/recipes")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="any key of the recipe")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run folder; else runs/DATASET-MODEL-NUMBER")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    _json_argument(parser)


def _flips_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flips", action="store_true", help="the mean of each image and its left-right mirror image")


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="lighter, ladder, networks, nerve, mobile, tiny, liver")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where its images are; else found as by kfold, or PHANTOM"
    )
    parser.add_argument("--dataset", metavar="NAME", help="another data set than the study's own")
    parser.add_argument(
        "--quick", action="store_true", help="the whole table in a few minutes: tiny images, few epochs"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="how many, from 0")
    parser.add_argument("--models", metavar="A,B", help="only these rows of the table")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="TOML that stands for the paper's settings")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a key of all recipes")
    parser.add_argument(
        "--instructions", type=Path, metavar="FILE.json", help="counts of tools/bench/arm.py, for study tiny's table"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="its folder, else studies/NAME; said again, it goes on")
    _engine_arguments(parser)
    _json_argument(parser)


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this computer (default), or a Ray cluster"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="so many folds at a time on this computer, each with its share of the CPUs (default 1; with --quick all)",
    )
    parser.add_argument("--ray-address", metavar="ADDRESS", help="HOST:PORT of its head; else the one this host is in")
    parser.add_argument(
        "--ray-cpus", type=int, metavar="N", help="CPUs of a node, and threads, for each fold (default: as here)"
    )
    parser.add_argument("--ray-gpus", type=float, metavar="N", help="GPUs of a node for each fold (default 0)")


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def _complain(message: str, status: int) -> int:
    print("tfseg: " + " ".join(message.split()), file=sys.stderr)
    return status


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        again = f", then say the same{' with --resume' if _trains() else ' again'}" if _goes_on() else " and try again"
        return f"; free some space{again}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose another place, or change its rights"
    return ""


def _stopped() -> str:
    if not _goes_on():
        return "stopped"
    again = [*sys.argv[1:], *(["--resume"] if _trains() and "--resume" not in sys.argv else [])]
    return f"stopped; what is done is kept. To go on: tfseg {shlex.join(again)}"


def _goes_on() -> bool:
    return _trains() or sys.argv[1:2] == ["study"]


def _trains() -> bool:
    return len(sys.argv) > 1 and sys.argv[1] in ("kfold", "train")
