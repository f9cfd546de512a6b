"""The built-in phantom: simulated ultrasound in the layouts of the real data sets, to try things out without data."""

from tfseg.data.phantom.layouts import LAYOUTS, VERSION, generate

__all__ = ["LAYOUTS", "VERSION", "generate"]
