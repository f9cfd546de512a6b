"""Where independent pieces of work are done: in this process, or on a Ray cluster."""

from tfseg.engine.cluster import Ray
from tfseg.engine.local import Local
from tfseg.engine.piece import Engine, Files, Piece, Where

__all__ = ["Engine", "Files", "Local", "Piece", "Ray", "Where"]
