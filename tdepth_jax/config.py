"""Configs: what may be said, how a file and the command line say it, and how two of them differ.

A config file has `get_config() -> ml_collections.ConfigDict` and names only what it sets; everything else comes
from the section dataclasses (the engine's below, `Model` and `Settings` of the chosen system), which are also
the place to read what a key means. An unknown key is an error that suggests the nearest one.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import pathlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from tdepth_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Data:
    """What is fed: a prepared data set (`tdepth prepare`), resized to `image_size` (height, width)."""

    dataset: str = "data/world"
    split: str = "train"  # "train:day+night": of it the frames of these conditions
    sequences: int = 0  # only the first so many of the split; 0 = all
    image_size: tuple[int, int] = (256, 320)
    flip: bool = True  # horizontal, with probability one half
    scale_crop: float = 1.15  # up to this enlargement of each axis, then a crop back; 1 = off
    workers: int = 0  # processes that decode; 0 = threads of this process
    threads: int = 4
    skip_corrupt: bool = False  # drop records that fail their checksum instead of stopping
    check_movement: bool = True  # refuse video of a camera that stands, where the method learns from motion

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise UserError(
                f"data.image_size={self.image_size} must be (height, width), each at least 16 pixels"
            )
        _at_least("data", self, sequences=0, scale_crop=1.0, workers=0, threads=1)


@dataclasses.dataclass(frozen=True)
class Train:
    steps: int = 1000
    batch_size: int = 4  # over all hosts and devices
    accumulate: int = 1  # micro-batches per step; must divide batch_size
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    keep: int = 2  # checkpoints kept
    panels_every: int = 500  # steps between image panels in TensorBoard; 0 = none
    ema_decay: float = 0.0  # 0 = no moving average of the trained parameters; predictions use it where kept
    max_bad_steps: int = 20  # NaN/Inf steps in a row before the run stops
    cache_targets: bool = (
        False  # keep what a frozen teacher says of each record on disk; needs unaugmented images
    )
    init_from: str | None = None  # a run directory whose weights to start from
    init_only: tuple[str, ...] = ()  # of those, the parameters whose path matches one of these; none = all

    def __post_init__(self) -> None:
        _at_least("train", self, steps=1, batch_size=1, accumulate=1, log_every=1, save_every=1, keep=1)
        _at_least("train", self, panels_every=0, ema_decay=0, max_bad_steps=1)
        if self.ema_decay >= 1:
            raise UserError(f"train.ema_decay={self.ema_decay} must be below 1")


@dataclasses.dataclass(frozen=True)
class Eval:
    """Scoring during training and at its end. `every=0` scores at the end only."""

    dataset: str | None = None  # None = the training data set
    split: str = "test"
    every: int = 0
    batch_size: int = 8
    protocols: tuple[str, ...] = ("median",)
    stride: int = 1  # every n-th frame of the split
    min_depth: float = 1e-3  # metres; ground truth outside is not scored
    max_depth: float = 80.0

    def __post_init__(self) -> None:
        _at_least("eval", self, every=0, batch_size=1, stride=1)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    name: str = "adam"  # adam | adamw | sgd | rmsprop
    learning_rate: float = 1e-4
    schedule: str = "constant"  # constant | cosine | onecycle | exponential
    warmup_steps: int = 0
    end_factor: float = 0.0  # final learning rate / peak, for the schedules that fall
    start_factor: float = 0.04  # first learning rate / peak, of onecycle
    peak_at: float = 0.3  # share of the steps after which onecycle is at its peak
    b1: float = 0.9
    b2: float = 0.999  # of adam and adamw; of rmsprop its decay
    weight_decay: float = 0.0  # adamw; kernels only, never biases, norms or scales
    clip_norm: float = 0.0  # 0 = no clipping

    def __post_init__(self) -> None:
        _at_least(
            "optimizer", self, learning_rate=0, warmup_steps=0, end_factor=0, weight_decay=0, clip_norm=0
        )
        _at_least("optimizer", self, start_factor=1e-6, peak_at=0)


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices as data x fsdp; -1 = all that remain. The batch is split over both axes."""

    data: int = -1
    fsdp: int = 1
    fsdp_min_bytes: int = 4 * 2**20  # smaller arrays are replicated


SECTIONS: dict[str, type] = {"data": Data, "train": Train, "eval": Eval, "optimizer": Optimizer, "mesh": Mesh}


def load(
    spec: str, overrides: Mapping[str, str], schema: typing.Callable[[str], dict[str, type]]
) -> ConfigDict:
    """The config a run will have: defaults, then the file, then the command line; typed and locked.

    Args:
      spec: a Python file, or "file.py:argument" to call `get_config(argument)`.
      overrides: {"train.steps": "60", …} as text from the command line.
      schema: system name -> {"model": dataclass, "system": dataclass}.

    Raises:
      UserError: no such file, a file that fails, an unknown key, a value of the wrong type.
    """
    path, _, argument = spec.partition(":")
    said = _run_file(pathlib.Path(path), argument)
    name = overrides.get("system.name") or said.get("system", {}).get("name")
    if not name:
        raise UserError(f'{path}: system.name is not set; choose a method, e.g. c.system.name = "selfsup"')
    config = defaults(name, schema)
    for key, value in _flatten(said).items():
        _set(config, key, value, where=path)
    for key, text in overrides.items():
        _set(config, key, _parse(config, key, text), where=f"--config.{key}")
    for section_name, cls in {**SECTIONS, **schema(name)}.items():
        cls(**config[section_name])  # a value out of its range is refused here
    return config.lock()


def from_json(path: pathlib.Path, schema: typing.Callable[[str], dict[str, type]]) -> ConfigDict:
    """The config that a run directory keeps."""
    try:
        said = json.loads(path.read_text())
        name = said["system"]["name"]
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a run: it has no config.json") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a run's config ({error!r}); restore it or start the run anew"
        ) from None
    config = defaults(name, schema)
    for key, value in _flatten(said).items():
        _set(config, key, value, where=str(path))
    return config.lock()


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2)


def section(config: ConfigDict, name: str) -> Any:
    """A section as its frozen dataclass, for code that should not hold a ConfigDict."""
    return SECTIONS[name](**config[name])


def defaults(name: str, schema: typing.Callable[[str], dict[str, type]]) -> ConfigDict:
    sections = {**SECTIONS, **schema(name)}
    config = ConfigDict({key: _section_defaults(cls) for key, cls in sections.items()})
    config.system.name = name
    return config


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Lines "key: old -> new" for every value that differs."""
    a, b = _flatten(old), _flatten(new)
    return [
        f"{k}: {a.get(k)!r} -> {b.get(k)!r}" for k in sorted(a | b) if _plain(a.get(k)) != _plain(b.get(k))
    ]


def _at_least(section_name: str, settings: Any, **bounds: float) -> None:
    for field, least in bounds.items():
        if getattr(settings, field) < least:
            raise UserError(f"{section_name}.{field}={getattr(settings, field)} must be at least {least}")


def _run_file(path: pathlib.Path, argument: str) -> dict[str, Any]:
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = f"; {nearest(str(path), siblings)}" if siblings else ""
        raise UserError(f"no config file {path}{hint}")
    root = str(path.resolve().parent.parent)  # `from configs import sibling` works from any folder
    if root not in sys.path:
        sys.path.insert(0, root)
    module_spec = importlib.util.spec_from_file_location(f"tdepth_config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"{path} is not a Python file; a config is a .py file with get_config()")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "get_config", None)):
        raise UserError(
            f"{path} has no get_config() function; a config file defines one that returns a ConfigDict"
        )
    try:
        config = module.get_config(argument) if argument else module.get_config()
    except Exception as error:
        raise UserError(f"{path}: get_config() fails: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict | dict):
        raise UserError(f"{path}: get_config() returned {type(config).__name__}, not a ConfigDict")
    return config.to_dict() if isinstance(config, ConfigDict) else config


def _section_defaults(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if default is None:  # a plain None would accept any type later on
            (kind,) = [t for t in typing.get_args(hints[field.name]) if t is not types.NoneType]
            default = config_dict.placeholder(typing.get_origin(kind) or kind)
        values[field.name] = default
    return values


def _flatten(tree: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _set(config: ConfigDict, key: str, value: Any, *, where: str) -> None:
    *parents, leaf = key.split(".")
    node: Any = config
    for depth, name in enumerate([*parents, leaf]):
        if not isinstance(node, ConfigDict) or name not in node:
            scope = ".".join(parents[:depth])
            choices = node.keys() if isinstance(node, ConfigDict) else ()
            raise UserError(
                f"{where}: there is no config key {key!r}: in {scope or 'the config'}, {nearest(name, choices)}"
            )
        if depth < len(parents):
            node = node[name]
    if isinstance(node[leaf], ConfigDict):
        raise UserError(
            f"{where}: {key!r} is a section; set one of its keys ({', '.join(node[leaf].keys())})"
        )
    if isinstance(value, list):
        value = tuple(value)
    try:
        node[leaf] = value
    except TypeError:
        kind = type(node[leaf]).__name__
        raise UserError(f"{where}: {key} must be {_article(kind)}, not {value!r}") from None


def _parse(config: ConfigDict, key: str, text: str) -> Any:
    """Command-line text as a Python value; text that is no literal is a string."""
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, ConfigDict) else None
    if isinstance(node, str):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = tuple(text.split(",")) if isinstance(node, tuple) else text
    if isinstance(node, tuple) and not isinstance(value, tuple | list):
        value = (value,)
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _article(kind: str) -> str:
    names = {
        "int": "a whole number",
        "float": "a number",
        "str": "a text",
        "bool": "true or false",
        "tuple": "a list",
    }
    return names.get(kind, f"of type {kind}")


def check_choices(section_name: str, settings: Any, **choices: tuple[str, ...]) -> None:
    """Raises a UserError for a field of `settings` whose value is not one of its choices."""
    for field, allowed in choices.items():
        value = getattr(settings, field)
        if value not in allowed:
            raise UserError(f"{section_name}.{field}={value!r} is not known; {nearest(value, allowed)}")
