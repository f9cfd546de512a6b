"""Where independent pieces of work are done: on this computer, or on a Ray cluster."""

from tfseg.engine.cluster import Ray
from tfseg.engine.local import Local
from tfseg.engine.piece import Engine, Files, Piece, Where, cpus_here

__all__ = ["Engine", "Files", "Local", "Piece", "Ray", "Where", "cpus_here"]
