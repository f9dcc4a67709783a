"""The methods, one file each. A file offers `Model` and `Settings` (its config sections) and `make(config)`."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from ml_collections import ConfigDict

from tdepth_jax.errors import UserError, nearest
from tdepth_jax.systems.base import System

_PARTS = {
    "base",
    "labelling",
    "optimizers",
    "pretrained",
    "two_views",
}  # what systems are made of, not systems


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _PARTS)


def _module(name: str) -> ModuleType:
    if name not in names():
        raise UserError(f"system.name: there is no method {name!r}; {nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def schema(name: str) -> dict[str, type]:
    """The config sections that belong to a method, as dataclasses."""
    module = _module(name)
    return {"model": module.Model, "system": module.Settings}


def make(config: ConfigDict) -> System:
    """The method that a config describes."""
    return _module(config.system.name).make(config)
