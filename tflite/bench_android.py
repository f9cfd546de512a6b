#!/usr/bin/env python3
"""Measure the files of runs on an Android phone: models x precisions x delegates x threads; what is done is kept.

    python tflite/bench_android.py RUN... [--matrix tflite/matrix.toml] [--harness PATH] [--serial S] [--prepare]

Cells that the results hold already are skipped, so that the same call goes on after whatever stopped it. See README.md
beside this file.
"""

import argparse
import sys
from pathlib import Path

from tfseg.bench import android, matrix, result
from tfseg.errors import InputError, WorkError
from tfseg.progress import progress

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Measure, and say what came out; the exit status is that of the tfseg commands."""
    try:
        measure(arguments())
    except InputError as error:
        return complain(str(error), 2)
    except WorkError as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped; what is done is kept: say the same again to go on", 130)
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    limits = android.Limits()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="RUN", help="run folders, or .tflite files")
    parser.add_argument("--matrix", type=Path, default=HERE / "matrix.toml", metavar="FILE.toml")
    parser.add_argument("--harness", type=Path, default=HERE / "android/benchmark_model_v1", metavar="PATH")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR", help="where the results are")
    parser.add_argument("--serial", metavar="S", help="which phone, where there are several")
    parser.add_argument("--prepare", action="store_true", help="screen on, airplane mode; put back at the end")
    parser.add_argument("--cell-limit", type=float, default=limits.cell_s, metavar="SECONDS", help="of one measurement")
    parser.add_argument("--cool-limit", type=float, default=limits.cool_s, metavar="SECONDS", help="to cool down")
    parser.add_argument("--return-limit", type=float, default=limits.return_s, metavar="SECONDS", help="if unplugged")
    return parser.parse_args()


def measure(given: argparse.Namespace) -> None:
    """Measure what is missing and print a line for each cell that was."""
    tasks = matrix.tasks(matrix.load(given.matrix), given.models)
    limits = android.Limits(cell_s=given.cell_limit, cool_s=given.cool_limit, return_s=given.return_limit)
    with (
        android.session(given.harness, serial=given.serial, prepare=given.prepare, limits=limits, tell=say) as at,
        progress() as watch,
    ):
        cells = android.run_matrix(at, tasks, given.out, watch)
    for cell in cells:
        print(result.headline(cell))
    say(f"{len(cells)} of {len(tasks)} cells measured, the others were there already; results in {given.out}")
    if failed := [cell for cell in cells if cell.status == result.FAILED]:
        raise WorkError(f"{len(failed)} of them failed; say the same again to try these once more")


def say(text: str) -> None:
    """Tell the user something beside the results."""
    print(text, file=sys.stderr, flush=True)


def complain(message: str, status: int) -> int:
    """Tell why it ends, in one line."""
    say("bench_android.py: " + " ".join(message.split()))
    return status


if __name__ == "__main__":
    sys.exit(main())
