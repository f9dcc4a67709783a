"""Published PyTorch parameters, as numpy arrays by name, to the parameter trees of this package."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from tdepth_jax.errors import UserError
from tdepth_jax.models import names
from tdepth_jax.models.bins import BinsConfig, MetricBins
from tdepth_jax.models.depth import DepthConfig
from tdepth_jax.models.dpt import DPT, DPTConfig
from tdepth_jax.models.mobilenet import STAGES, MobileNetV2
from tdepth_jax.models.resnet import VARIANTS as RESNETS
from tdepth_jax.models.resnet import ResNet
from tdepth_jax.models.vit import VARIANTS, ViT, ViTConfig


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a checkpoint held.

    Attributes:
      params: {"vit": tree} and/or {"head": tree}, with it {"metric_bins": tree}, as `DepthNet` has them, or
        {"resnet": tree} or {"mobilenet": tree} and its "batch_stats" under "…_statistics"; float32.
      mapped: (published name, path here, shape here) of every array used.
      ignored: (published name, reason) of every array not used.
      facts: what the arrays say about the model: dim, depth, heads, patch, registers, pos_grid, ffn, the
        convention for resizing position embeddings, the head's style and widths, the bins.
    """

    params: dict[str, Any]
    mapped: list[tuple[str, str, tuple[int, ...]]]
    ignored: list[tuple[str, str]]
    facts: dict[str, Any]


def convert(state: Mapping[str, np.ndarray], *, branch: str | None = None) -> Converted:
    """Recognises a checkpoint by its names and shapes, whichever library wrote it.

    Of a file with a thermal and an RGB network (MonoTher-Depth) it takes the `branch` said, thermal where None.

    Raises UserError, naming the first offenders, for names that no published file has, for parts that are
    missing, for shapes that do not fit each other, and for a branch said of a file that has one network.
    """
    two = any(names.branch(name)[1] == "rgb" for name in state)
    if branch and not two:
        raise UserError(f"--branch={branch}: the file holds one network, so leave it out")
    found: dict[str, dict[str, np.ndarray]] = {part: {} for part, _ in names.TABLES}
    mapped, ignored, unknown = [], [], []
    for name, array in state.items():
        bare, of = names.branch(name)
        if two and not bare.startswith("conf_net.") and of != (branch or "thermal"):
            ignored.append((name, f"of the {of} branch (--branch={of} takes it)"))
            continue
        where = names.place(bare)
        if where is None:
            unknown.append(name)
        elif where[0] == "refused":
            raise UserError(where[1])
        elif where[0] == "ignored":
            ignored.append((name, where[1]))
        else:
            part, path = where
            found[part][path] = laid = _lay_out(part, path, np.asarray(array, np.float32))
            mapped.append((name, f"{part}/{path}", laid.shape))
    if not mapped:
        raise UserError(
            f"none of the {len(state)} arrays has a name that a DINOv2, Depth Anything, ZoeDepth, depth-head, ResNet "
            f"or MobileNetV2 file gives (the first is {next(iter(state), 'none')!r})"
        )
    if unknown:
        raise UserError(f"{len(unknown)} arrays have names that no known file gives, {unknown[0]!r} first")
    params, facts = {}, {}
    if found["vit"]:
        params["vit"], facts["vit"] = _vit(found["vit"], hugging_face=any("embeddings." in n for n in state))
    if found["head"]:
        params["head"], facts["head"] = _head(found["head"])
    if found["metric_bins"]:
        if "head" not in params:
            raise UserError(
                "the file is partial: it has a metric-bins head, but no decoder that it stands on"
            )
        params["metric_bins"], facts["metric_bins"], shapes = _metric_bins(found["metric_bins"])
        mapped = [(name, path, shapes.get(path, shape)) for name, path, shape in mapped]
    if found["resnet"] or found["resnet_statistics"]:
        params |= _resnet(found["resnet"], found["resnet_statistics"])
        facts["resnet"] = {"variant": _variant(found["resnet"])}
    if found["mobilenet"] or found["mobilenet_statistics"]:
        params |= _mobilenet(found["mobilenet"], found["mobilenet_statistics"])
        facts["mobilenet"] = {"width": 1.0, "blocks": max(blocks for _, _, blocks, _ in STAGES)}
    return Converted(params, mapped, ignored, facts)


def _lay_out(part: str, path: str, array: np.ndarray) -> np.ndarray:
    """PyTorch's order of axes to ours."""
    if not path.endswith("kernel"):
        return array
    if part in ("resnet", "mobilenet") and array.ndim != 4:
        raise UserError(f"{path} is {array.shape}; the kernel of a convolution has four axes")
    if array.ndim == 2:  # linear: out in -> in out
        return array.T
    if path == "patch_embed/kernel":  # one row per pixel of the patch: out in p q -> (p q in) out
        return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
    if path in ("reassemble_0/resize/kernel", "reassemble_1/resize/kernel"):  # transposed: in out k l
        return array.transpose(0, 2, 3, 1)
    if part in ("head", "metric_bins") and array.shape[2:] == (
        1,
        1,
    ):  # a linear map there, a convolution in a ResNet
        return array[:, :, 0, 0].T
    return array.transpose(2, 3, 1, 0)


def _vit(flat: dict[str, np.ndarray], *, hugging_face: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    _require(
        flat, ("cls_token", "pos_embed", "patch_embed/kernel", "patch_embed/bias", "norm/scale", "norm/bias")
    )
    layers: dict[int, dict[str, np.ndarray]] = {}
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        if path.startswith("blocks/"):
            _, index, leaf = path.split("/", 2)
            layers.setdefault(int(index), {})[leaf] = array
        else:
            _put(tree, path, array)
    depth = max(layers, default=-1) + 1
    if sorted(layers) != list(range(depth)) or not depth:
        missing = sorted(set(range(depth)) - set(layers))
        raise UserError(f"the backbone lacks blocks {missing}" if depth else "the backbone has no blocks")
    blocks = [_joined(layers[i], i) for i in range(depth)]
    for leaf in sorted(set().union(*blocks)):
        lacking = [i for i, block in enumerate(blocks) if leaf not in block]
        if lacking:
            raise UserError(f"block {lacking[0]} of the backbone lacks {leaf}")
        shapes = {block[leaf].shape for block in blocks}
        if len(shapes) > 1:
            raise UserError(f"{leaf} has different shapes in different blocks: {sorted(shapes)}")
        _put(tree, f"blocks/{leaf}", np.stack([block[leaf] for block in blocks]))
    swiglu = "w12" in tree["blocks"]
    _require(blocks[0], ("norm1/scale", "norm1/bias", "norm2/scale", "norm2/bias", "ls1", "ls2", "proj/kernel",
                         "proj/bias", *(f"{layer}/{leaf}" for layer in (("w12", "w3") if swiglu else ("fc1", "fc2"))
                                        for leaf in ("kernel", "bias"))), "block 0: ")  # fmt: skip
    dim = tree["cls_token"].shape[-1]
    registers = tree["register_tokens"].shape[1] if "register_tokens" in tree else 0
    facts = {
        "dim": dim,
        "depth": depth,
        "heads": dim // 64 or 1,
        "patch": math.isqrt(tree["patch_embed"]["kernel"].shape[0] // 3),
        "ffn": "swiglu" if swiglu else "mlp",
        "registers": registers,
        "pos_grid": math.isqrt(tree["pos_embed"].shape[1] - 1),
        "interpolation": "antialias" if registers else "size" if hugging_face else "offset",
    }
    said = {key: facts[key] for key in ("dim", "depth", "heads", "patch", "ffn", "registers", "pos_grid")}
    image = jax.ShapeDtypeStruct((1, facts["patch"], facts["patch"], 3), np.float32)
    _compare(
        tree, jax.eval_shape(ViT(ViTConfig(**said), (depth - 1,)).init, jax.random.key(0), image)["params"]
    )
    return tree, facts


def _joined(block: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    """Projections that some files keep apart, side by side as the others have them."""
    for whole, parts in (("qkv", ("q", "k", "v")), ("w12", ("w1", "w2"))):
        apart = [f"{part}/{leaf}" for part in parts for leaf in ("kernel", "bias")]
        if not any(path in block for path in apart):
            continue
        _require(block, tuple(apart), f"block {index}: ")
        joined = {
            f"{whole}/{leaf}": np.concatenate([block[f"{part}/{leaf}"] for part in parts], axis=-1)
            for leaf in ("kernel", "bias")
        }
        block = {path: array for path, array in block.items() if path not in apart} | joined
    _require(block, ("qkv/kernel", "qkv/bias"), f"block {index}: ")
    return block


def _head(flat: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        _put(tree, path, array)
    if "bins" in tree:
        _require(flat, ("bins/kernel", "bins/bias"), "the head: ")
        return tree, {"style": "linear", "inputs": tree["bins"]["kernel"].shape[0]}
    dinov2 = "project" in tree
    convs = ["kernel"] if dinov2 else ["kernel", "bias"]
    wanted = [f"out_{i}/{leaf}" for i in (1, 2, 3) for leaf in ("kernel", "bias")]
    for i in range(4):
        wanted += [f"reassemble_{i}/to_features/kernel"]
        modules = [
            f"reassemble_{i}/project",
            f"fuse_{i}/project",
            *([f"reassemble_{i}/resize"] if i != 2 else []),
        ]
        modules += [f"reassemble_{i}/readout"] if dinov2 else []
        wanted += [f"{module}/{leaf}" for module in modules for leaf in ("kernel", "bias")]
        units = ("refine",) if i == 3 else ("skip", "refine")
        wanted += [f"fuse_{i}/{unit}/conv_{n}/{leaf}" for unit in units for n in (1, 2) for leaf in convs]
    _require(flat, tuple(wanted), "the head: ")
    facts = {
        "style": "dinov2" if dinov2 else "depth_anything",
        "channels": tuple(flat[f"reassemble_{i}/project/kernel"].shape[-1] for i in range(4)),
        "features": flat["reassemble_0/to_features/kernel"].shape[-1],
        "dim": flat["reassemble_0/project/kernel"].shape[0],
    }
    net = DPT(DPTConfig(facts["channels"], facts["features"], facts["style"]))
    tap = (
        jax.ShapeDtypeStruct((1, 4, facts["dim"]), np.float32),
        jax.ShapeDtypeStruct((1, facts["dim"]), np.float32),
    )
    init = functools.partial(net.init, grid=(2, 2), out=(28, 28))
    _compare(tree, jax.eval_shape(init, jax.random.key(0), (tap,) * 4)["params"])
    return tree, facts


def _metric_bins(
    flat: dict[str, np.ndarray],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, tuple[int, ...]]]:
    """(tree, facts, shapes by path) of ZoeDepth's head.

    With "normed" centres the file has two outputs for every attractor, meant to be divided by their sum; the
    published code uses the first alone, and so do the weights trained with it. The others are left out. Told by
    the counts: with softplus centres the published file has one attractor at the last level, an odd number.
    """
    counts = [f"attract_{i}/out/bias" for i in range(4)]
    _require(flat, (*counts, "seeds/out/bias", "embed_3/out/bias", "bottleneck/kernel", "mixture/hidden/kernel"),
             "the metric-bins head: ")  # fmt: skip
    normed = all(flat[path].size % 2 == 0 for path in counts)
    tree: dict[str, Any] = {}
    shapes = {}
    for path, array in flat.items():
        first = array[..., ::2] if normed and re.match(r"attract_\d/out/", path) else array
        _put(tree, path, np.ascontiguousarray(first))
        shapes[f"metric_bins/{path}"] = first.shape
    facts: dict[str, Any] = {
        "n_bins": flat["seeds/out/bias"].size,
        "bin_embedding": flat["embed_3/out/bias"].size,
        "bin_attractors": tuple(flat[path].size // (1 + normed) for path in counts),
        "bin_centres": "normed" if normed else "softplus",
    }
    config = BinsConfig(facts["n_bins"], facts["bin_embedding"], facts["bin_attractors"])
    features, inputs = flat["bottleneck/kernel"].shape[0], flat["mixture/hidden/kernel"].shape[0]
    last = inputs - 1 - facts["bin_embedding"]
    maps = [jax.ShapeDtypeStruct((1, 2, 2, c), np.float32) for c in (last, 1, *[features] * 5)]
    wanted = jax.eval_shape(MetricBins(config).init, jax.random.key(0), *maps[:3], tuple(maps[3:]))
    _compare(tree, wanted["params"])
    return tree, facts, shapes


def model_settings(facts: Mapping[str, Any], *, head: str | None = None, metric: float = 0) -> dict[str, Any]:
    """The `model` section of a config that the imported parameters fit (see DepthConfig).

    The files of Depth Anything V1 and V2, and of their relative and metric variants, hold the same names and
    shapes, so `head` (V2 where None) and `metric` (the range in metres, 0 = relative) say what no file can. With
    metric bins it is V1 where None and the range is, where 0, that of the published files: 80 m with normed centres
    (driving), 10 m with softplus ones (indoors).

    Raises UserError for a backbone or head of no published kind, a head that does not belong to the backbone beside
    it, and a `head` that the file is not.
    """
    settings: dict[str, Any] = dict(facts.get("mobilenet", {}))
    vit, found, bins = facts.get("vit"), facts.get("head", {}), facts.get("metric_bins")
    if vit:
        sizes = (vit["dim"], vit["depth"], vit["ffn"], vit["patch"], vit["pos_grid"])
        known = {(v.dim, v.depth, v.ffn, v.patch, v.pos_grid): name for name, v in VARIANTS.items()}
        if sizes in known:
            settings |= {"backbone": known[sizes]}
        elif vit["ffn"] == "mlp":
            settings |= {"backbone": "custom", "vit_heads": vit["heads"]}
            settings |= {f"vit_{key}": vit[key] for key in ("dim", "depth", "patch", "pos_grid")}
        else:
            raise UserError(
                f"a SwiGLU backbone of width {vit['dim']} and {vit['depth']} blocks is no published one"
            )
        settings |= {"registers": vit["registers"], "interpolation": vit["interpolation"]}
    if found:
        kind, dim = _head_kind(found, vit["dim"] if vit else None, head or (bins and "depth_anything_v1"))
        if not vit and (variant := {v.dim: name for name, v in VARIANTS.items()}.get(dim)):
            settings |= {"backbone": variant}
        outputs = {"dinov2": "relu_depth", "dinov2_linear": "bins", "dinov2_linear4": "bins"}
        relative = "metric_sigmoid" if metric else "relu_disparity"
        settings |= {"head": kind, "output": outputs.get(kind, relative)}
        if bins:
            indoors = bins["bin_centres"] == "softplus"
            settings |= {"output": "metric_bins", "min_depth": 0.001}
            settings |= {"max_depth": metric or (10.0 if indoors else 80.0)}
            settings |= {key: value for key, value in bins.items() if value != getattr(DepthConfig, key)}
        elif kind in outputs:
            settings |= {"min_depth": 0.001, "max_depth": metric or 10.0}
        elif metric:
            settings |= {"max_depth": metric}
        if "channels" in found and settings.get("backbone", "custom") == "custom":
            settings |= {"dpt_channels": found["channels"], "dpt_features": found["features"]}
    return settings


def _head_kind(found: Mapping[str, Any], backbone: int | None, said: str | None) -> tuple[str, int]:
    """(the head's name in DepthConfig, the width of the backbone it reads), by its style and shapes."""
    if found["style"] != "linear":
        if backbone not in (None, found["dim"]):
            raise UserError(f"the head reads a backbone of width {found['dim']}, the one here has {backbone}")
        kinds = ("dinov2",) if found["style"] == "dinov2" else ("depth_anything_v2", "depth_anything_v1")
        if said not in (None, *kinds):
            raise UserError(f"--head={said}: the file holds a head of the {found['style']} kind")
        return said or kinds[0], found["dim"]
    # One tap or four, each a patch token joined by the class token.
    inputs = found["inputs"]
    widths = {"dinov2_linear": inputs / 2, "dinov2_linear4": inputs / 8}
    if said not in (None, *widths):
        raise UserError(f"--head={said}: the file holds a linear head")
    known = [backbone] if backbone else [v.dim for v in VARIANTS.values()]
    fitting = {name: int(w) for name, w in widths.items() if w in known and said in (None, name)}
    if len(fitting) == 2:
        raise UserError(
            f"a linear head of {inputs} inputs reads one tap of width {inputs // 2} or four of width {inputs // 8}, "
            "and no backbone in the file tells which: say --head=dinov2_linear or --head=dinov2_linear4, or name the "
            "backbone's file beside it"
        )
    if not fitting:
        of = f"a backbone of width {backbone}" if backbone else "any published backbone"
        raise UserError(f"a linear head of {inputs} inputs does not fit {said or 'one or four taps'} of {of}")
    ((kind, width),) = fitting.items()
    return kind, width


def _resnet(flat: dict[str, np.ndarray], statistics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Both trees of a ResNet."""
    variant = _variant(flat)
    _require(flat, ("conv1/kernel",))
    channels = flat["conv1/kernel"].shape[2]
    return _encoder("resnet", variant, ResNet(RESNETS[variant]), channels, flat, statistics)


def _mobilenet(flat: dict[str, np.ndarray], statistics: dict[str, np.ndarray]) -> dict[str, Any]:
    """Both trees of MobileNetV2, of the one width that is published."""
    norm = functools.partial(nn.BatchNorm, use_running_average=True)
    return _encoder("mobilenet", "MobileNetV2", MobileNetV2(norm), 3, flat, statistics)


def _encoder(
    kind: str, name: str, net: nn.Module, channels: int, *arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Parameters and statistics, given in this order, as trees; compared with the network itself, shape by shape."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), np.float32)
    wanted = jax.eval_shape(net.init, jax.random.key(0), image)
    trees: dict[str, Any] = {kind: {}, f"{kind}_statistics": {}}
    for tree, flat, collection in zip(trees.values(), arrays, ("params", "batch_stats"), strict=True):
        shapes = wanted[collection]
        paths = ("/".join(k.key for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes))
        _require(flat, tuple(paths), f"{name}: ")
        for path, array in flat.items():
            _put(tree, path, array)
        _compare(tree, shapes)
    return trees


def _variant(flat: Mapping[str, np.ndarray]) -> str:
    """Which ResNet the arrays are of, by the number of blocks in its third stage."""
    bottleneck = "layer1_0/conv3/kernel" in flat
    count = len({path.split("/")[0] for path in flat if path.startswith("layer3_")})
    known = {config.blocks[2]: name for name, config in RESNETS.items() if config.bottleneck == bottleneck}
    # A file that lacks some of them is said to be partial by what is compared with it.
    return known[min((n for n in known if n >= count), default=max(known))]


def _compare(tree: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError for an array that the network which the file describes lacks, or has in another shape."""
    ours, theirs = (
        {"/".join(k.key for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(one)}
        for one in (tree, wanted)
    )
    for path, shape in ours.items():
        if path not in theirs:
            raise UserError(f"{path} has no place in the network that the other arrays describe")
        if shape != theirs[path]:
            raise UserError(
                f"{path} is {shape}; the network that the other arrays describe has {theirs[path]}"
            )
    if missing := sorted(theirs.keys() - ours.keys()):
        raise UserError(f"the file is partial: {missing[0]} missing")


def _require(flat: Mapping[str, np.ndarray], paths: tuple[str, ...], where: str = "") -> None:
    missing = [path for path in paths if path not in flat]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"the file is partial: {where}{missing[0]}{more} missing")


def _put(tree: dict[str, Any], path: str, array: np.ndarray) -> None:
    *folders, leaf = path.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[leaf] = array
