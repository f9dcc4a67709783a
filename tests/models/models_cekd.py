"""What the golden tests of CEKD's networks share: inputs, stored outputs, and published names to ours."""

from __future__ import annotations

import json
import pathlib
import re

import models_golden as golden
import numpy as np

NORM = {"weight": ("params", "scale"), "bias": ("params", "bias"), "running_mean": ("batch_stats", "mean"),
        "running_var": ("batch_stats", "var")}  # fmt: skip
BLOCK = {"0": "conv1", "1": "bn1", "5": "bn2", "7": "conv2", "8": "bn3"}  # of an attention block
# Published module -> ours, in the order of trial. A convolution's leaf is a kernel, a norm's see NORM.
NAMES = [
    (r"encoder_(rgb|thermal)_layer4\.(.*)", r"\1/layer4/\2"),
    (r"encoder_(rgb|thermal)_layer(\d)\.(\d+)\.downsample\.0", r"\1/layer\2_\3/downsample_conv"),
    (r"encoder_(rgb|thermal)_layer(\d)\.(\d+)\.downsample\.1", r"\1/layer\2_\3/downsample_bn"),
    (r"encoder_(rgb|thermal)_layer(\d)\.(\d+)\.(\w+)", r"\1/layer\2_\3/\4"),
    (r"encoder_(rgb|thermal)_(conv1|bn1)", r"\1/\2"),
    (r"deconv(\d)\.(.*)", r"decoder/stage_\1/\2"),
    (r"skip_tranform", r"decoder/skip_1"),
    (r"edge\.(.*)", r"decoder/edges/\1"),
    (r"createMask\.(.*)", r"enhancement/\1"),
    (r"(.*/)?net\.(\d)\.shortcut\.0", r"\1block_\2/shortcut_conv"),
    (r"(.*/)?net\.(\d)\.shortcut\.1", r"\1block_\2/shortcut_bn"),
    (r"(.*/)?net\.(\d)\.net\.3\.to_qkv", r"\1block_\2/attention/qkv"),
    (r"(.*/)?net\.(\d)\.net\.(\d)", lambda m: f"{m[1] or ''}block_{m[2]}/{BLOCK[m[3]]}"),
    (r"(.*/)?0\.(conv\d|bn\d)", r"\1same_\2"),
    (r"(.*/)?1\.(conv\d|bn\d)", r"\1double_\2"),
    (r"(.*/)?1\.upsample\.0", r"\1double_shortcut"),
    (r"(.*/)?1\.upsample\.1", r"\1double_shortcut_bn"),
    (r"(.*/)?skip2conv", r"\1conv"),
    (r"(.*/)?skip2bn", r"\1bn"),
    (r"(.*/)?cdcm\.conv1", r"\1dilated_in"),
    (r"(.*/)?cdcm\.conv2_(\d)", lambda m: f"{m[1] or ''}dilated_{3 + 2 * int(m[2])}"),
    (r"(.*/)?csam\.conv1", r"\1gate_in"),
    (r"(.*/)?csam\.conv2", r"\1gate"),
    (r"(.*/)?conv1x1", r"\1edge"),
    (r"(.*/)?expweight\.(\w+)", r"\1\2"),
]
POSITIONS = re.compile(r"(?:encoder_(rgb|thermal)_layer4\.)?net\.(\d)\.net\.3\.pos_emb\.(height|width)")


def variables(spec: list) -> dict:
    """The known weights of a published network under our names: {"params": …, "batch_stats": …}."""
    found: dict = {"params": {}, "batch_stats": {}}
    for name, value in golden.weights([(n, s) for n, s in spec]).items():
        if match := POSITIONS.fullmatch(name):
            where = f"{match[1]}/layer4/" if match[1] else ""
            axis = {"height": "rows", "width": "columns"}[match[3]]
            _put(found["params"], f"{where}block_{match[2]}/attention/{axis}", value)
            continue
        module, leaf = name.rsplit(".", 1)
        path = _ours(module)
        if re.search(r"(_|/|^)bn\d?$", path):
            tree, leaf = NORM[leaf]
        else:
            tree, leaf = "params", "kernel" if leaf == "weight" else "bias"
        _put(found[tree], f"{path}/{leaf}", _transposed(path, value))
    return found


def _ours(module: str) -> str:
    for pattern, path in NAMES:
        if match := re.fullmatch(pattern, module):
            module = path(match) if callable(path) else match.expand(path)
    return module


def _transposed(path: str, value: np.ndarray) -> np.ndarray:
    if value.ndim == 2:
        return value.T
    if value.ndim != 4:
        return value
    # A transposed convolution's kernel comes as (in, out, h, w), a convolution's as (out, in, h, w).
    return (
        value.transpose(2, 3, 0, 1)
        if re.search(r"double_(conv3|shortcut)$", path)
        else value.transpose(2, 3, 1, 0)
    )


def _put(tree: dict, path: str, value: np.ndarray) -> None:
    *folders, leaf = path.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[leaf] = value


def features(size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """[1 h w c]; one channel is an image in [0, 1] with some zeros, unless it stands for logits (seed 3)."""
    noise = np.random.RandomState(seed).standard_normal((1, *size)).astype(np.float32)
    return np.clip(0.5 + 0.3 * noise, 0, 1) if size[-1] == 1 and seed != 3 else noise


def attended() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps (student's, teacher's) of three images: larger, smaller and of another shape, two teacher's of one size."""
    ours, theirs = ((4, 6, 5), (2, 3, 4), (5, 4, 2)), ((4, 6, 3), (2, 2, 5), (4, 6, 2))
    return tuple(
        [
            np.random.RandomState(10 * n + i).standard_normal((3, *size)).astype(np.float32)
            for i, size in enumerate(all)
        ]
        for n, all in enumerate((ours, theirs))
    )


def matcher(spec: list) -> dict:
    """AFD's known weights under the names of our `Matcher`."""
    found: dict = {}
    leaves = {
        "linear.weight": "linear/kernel",
        "linear.bias": "linear/bias",
        "bn.weight": "scale",
        "bn.bias": "bias",
    }
    for name, value in golden.weights([(n, s) for n, s in spec]).items():
        name = name.removeprefix("attention.")
        if name in ("p_t", "p_s"):
            _put(found, {"p_t": "teacher_places", "p_s": "student_places"}[name], value)
            continue
        *_, layer, module, leaf = name.split(".")
        if f"{module}.{leaf}" not in leaves:
            continue  # running statistics
        where = f"query_{layer}" if "query" in name else f"key_{layer}" if "key_layer" in name else "bilinear"
        _put(found, f"{where}/{leaves[f'{module}.{leaf}']}", value.T if value.ndim == 2 else value)
    return found


def edge_labels() -> np.ndarray:
    return (np.random.RandomState(4).rand(1, 6, 8) < 0.2).astype(np.float32)


def pair() -> np.ndarray:
    """A 480 x 640 picture with four channels in [0, 1]."""
    return np.random.RandomState(5).rand(1, 480, 640, 4).astype(np.float32)


def save(name: str, spec: list, outputs: dict, folder: pathlib.Path | None = None) -> None:
    path = (folder or golden.FOLDER) / f"{name if folder else f'cekd_{name}'}.npz"
    np.savez_compressed(path, **outputs, spec=np.frombuffer(json.dumps(spec).encode(), np.uint8))
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def load(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    """(our variables, the stored outputs)."""
    stored = dict(np.load(path))
    return variables(json.loads(bytes(stored.pop("spec")))), stored
