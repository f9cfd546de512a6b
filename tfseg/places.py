"""Where the files of tflite/ lie: beside the package in a checkout, inside it once installed."""

from pathlib import Path


def device_side() -> Path:
    """Return the folder of the device's side: matrix.toml, bench_android.py, android/, web/.

    >>> (device_side() / "matrix.toml").is_file()
    True
    """
    package = Path(__file__).parent
    inside = package / "tflite"
    return inside if inside.is_dir() else package.parent / "tflite"


def npm_command() -> str:
    """Return the line that gets LiteRT for the web, which the live demo needs: make's in a checkout, else npm's.

    >>> npm_command()
    'make demo-web'
    """
    checkout = (device_side().parent / "Makefile").is_file()
    return "make demo-web" if checkout else f"npm ci --omit=dev --prefix {device_side() / 'web'}"
