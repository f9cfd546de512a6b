"""Write constraints.txt: one version of every package that tfseg and its extras need, chosen by pip, without URLs.

Run it with the oldest Python that tfseg supports, since what installs there installs on the newer ones too:

    make lock                        # or: python3.11 tools/lock.py
    make test                        # sets .venv up with the new versions

Nothing is installed: pip only resolves.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = """\
# The versions tfseg is tested with: the base install and all extras together. Written by `make lock`; do not edit.
# absl-py is old because tensorflow-model-optimization (extra qat) asks for 1.x.
"""


def main() -> None:
    """Resolve base and extras in one go and replace constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].split(",")[0].removeprefix(">=")
    if sys.version_info[:2] != tuple(map(int, oldest.split("."))):
        raise SystemExit(f"lock.py runs under Python {sys.version_info.major}.{sys.version_info.minor}; use {oldest}")
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    pins = sorted(resolve(requirements), key=str.lower)
    (ROOT / "constraints.txt").write_text(HEADER + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    print(f"constraints.txt: {len(pins)} packages")


def resolve(requirements: list[str]) -> list[str]:
    """Return "name==version" of everything that pip would install for `requirements` into an empty environment."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = subprocess.run([*pip, *requirements], stdout=subprocess.PIPE, check=True).stdout
    packages = [item["metadata"] for item in json.loads(report)["install"]]
    # "2.13.0+cpu" and "2.13.0" are one version built twice; which build is there depends on the machine
    return [f"{package['name']}=={package['version'].partition('+')[0]}" for package in packages]


if __name__ == "__main__":
    main()
