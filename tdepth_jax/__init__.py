"""Depth and scene understanding from thermal (LWIR) cameras, in JAX/Flax."""

__version__ = "0.1.0"
