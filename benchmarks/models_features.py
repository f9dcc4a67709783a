"""What a backbone trained on colour pictures sees in thermal ones: PCA of its features, and cosine similarities.

  python benchmarks/models_features.py --weights weights/dinov2_vits14 --pairs DIR -o docs/images/models_features.png

DIR holds aligned pairs NAME_vi.png (colour) and NAME_ir.png (8-bit thermal, stretched here between its percentiles),
the last letter of NAME saying D(ay) or N(ight), as the MSRS set names them. The picture has one basis for all its
columns, and no pixel of the pairs unless --pixels is given: it is features, one square of colour for each 14x14
patch. --world N adds the first N sequences of ThermalWorld, with their pixels.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import cv2
import jax
import numpy as np
import orbax.checkpoint as ocp

from tdepth_jax.data import world
from tdepth_jax.models.depth import DepthConfig
from tdepth_jax.models.vit import ViT
from tdepth_jax.training.partition import nest

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
GRID = (34, 45)  # patches
TAPS = (2, 5, 8, 11)  # blocks whose features are compared
BEST = 2  # of the taps: shown, and compared by day and by night
SHOWN = ("00055D", "00537D", "00881N", "01020N")


def encoder(weights: pathlib.Path):
    """[h w 3] uint8 -> (class token [c], patch tokens [n c]) after each block of TAPS, normed."""
    config = DepthConfig(**json.loads((weights / "import.json").read_text())["model"]).vit
    params = nest(ocp.StandardCheckpointer().restore((weights / "vit").resolve()))
    net = jax.jit(ViT(config, TAPS).apply)

    def encode(picture: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        size = (GRID[1] * config.patch, GRID[0] * config.patch)
        x = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        taps = net({"params": params}, ((x - MEAN) / STD)[None])
        return [(np.asarray(cls[0]), np.asarray(patches[0])) for patches, cls in taps]

    return encode


def read_pairs(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (colour, thermal repeated to three channels), each [h w 3] uint8."""
    pairs = {}
    for path in sorted(folder.glob("*_vi.png")):
        thermal = cv2.imread(str(path).replace("_vi.", "_ir."), cv2.IMREAD_GRAYSCALE)
        pairs[path.stem.removesuffix("_vi")] = (
            cv2.imread(str(path))[..., ::-1].copy(),
            stretched(thermal),
        )
    return pairs


def world_pairs(count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Aligned renderings."""
    pairs = {}
    for spec in world.sequences("test", count=count, frames=1, height=240, width=320):
        frame = next(iter(world.render(spec)))
        pairs[f"world {len(pairs)}"] = (frame["rgb/image"], stretched(frame["thermal/image"]))
    return pairs


def stretched(thermal: np.ndarray) -> np.ndarray:
    """[h w] between its 1st and 99th percentile, as the networks here are fed, on three channels, uint8."""
    low, high = np.percentile(thermal, (1, 99))
    gray = np.clip((thermal.astype(np.float32) - low) / (high - low), 0, 1) * 255
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1)


def similarities(colour: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """Cosine of every colour image with every thermal one [n n], from features [n c] or patch by patch [n p c]."""
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (colour, thermal))
    return a @ b.T if a.ndim == 2 else np.einsum("ipc,jpc->ij", a, b) / a.shape[1]


def table(name: str, colour: np.ndarray, thermal: np.ndarray) -> list[str]:
    """Paired against unpaired, as they are and with what all images of a modality share (there) taken off."""
    lines = []
    for what, (a, b) in {
        "as it is": (colour, thermal),
        "mean taken off": (colour - colour.mean(0), thermal - thermal.mean(0)),
    }.items():
        every = similarities(a, b)
        paired, others = np.diag(every), every[~np.eye(len(every), dtype=bool)]
        found = (every.argmax(axis=0) == np.arange(len(every))).sum()
        above = (paired[:, None] > others).mean()
        lines.append(
            f"| {name} | {what} | {paired.mean():.3f} ± {paired.std():.3f} | {others.mean():.3f} ± {others.std():.3f} "
            f"| {above:.3f} | {found}/{len(every)} |"
        )
    return lines


def pca_colours(tokens: np.ndarray) -> np.ndarray:
    """[images patches c] -> [images h w 3] uint8: the three strongest directions of all, as red, green and blue."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    flat = flat - flat.mean(axis=0)
    _, directions = np.linalg.eigh(flat.T @ flat)
    scores = flat @ directions[:, :-4:-1]
    low, high = np.percentile(scores, (2, 98), axis=0)
    colours = np.clip((scores - low) / (high - low), 0, 1) * 255
    return colours.astype(np.uint8).reshape(len(tokens), *GRID, 3)


def sheet(rows: list[list[np.ndarray]], cell: tuple[int, int] = (136, 180), gap: int = 4) -> np.ndarray:
    """Pictures in rows, blown up without smoothing what is smaller than a cell."""
    h, w = cell
    canvas = np.full((len(rows) * (h + gap) - gap, len(rows[0]) * (w + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            how = cv2.INTER_NEAREST if picture.shape[0] <= GRID[0] else cv2.INTER_AREA
            canvas[i * (h + gap) :, j * (w + gap) :][:h, :w] = cv2.resize(picture, (w, h), interpolation=how)
    return canvas


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=pathlib.Path, required=True, help="folder written by import_weights"
    )
    parser.add_argument("--pairs", type=pathlib.Path, required=True)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="picture to write (.png)")
    parser.add_argument("--pixels", action="store_true", help="rows of the pairs themselves, too")
    parser.add_argument("--world", type=int, default=2)
    flags = parser.parse_args()
    encode = encoder(flags.weights)
    real = read_pairs(flags.pairs)
    features = {name: tuple(encode(x) for x in pair) for name, pair in real.items()}
    print(f"{len(real)} pairs, {sum(name.endswith('N') for name in real)} of them by night\n")
    print("| features | | paired | unpaired | paired above unpaired | own colour image found |")
    print("|---|---|---|---|---|---|")
    for title, letters, taps, kinds in (
        ("all", "DN", range(len(TAPS)), (0, 1)), ("day", "D", (BEST,), (1,)), ("night", "N", (BEST,), (1,))
    ):  # fmt: skip
        chosen = [features[name] for name in real if name[-1] in letters]
        for tap in taps:
            for kind in kinds:
                colour, thermal = (np.stack([pair[i][tap][kind] for pair in chosen]) for i in (0, 1))
                what = ("class token", "patch by patch")[kind]
                print("\n".join(table(f"{title}, block {TAPS[tap] + 1}, {what}", colour, thermal)))
    shown = {name: real[name] for name in SHOWN if name in real} or dict(list(real.items())[:4])
    made = world_pairs(flags.world)
    features |= {name: tuple(encode(x) for x in pair) for name, pair in made.items()}
    names = [*shown, *made]
    colours = pca_colours(np.stack([features[name][i][BEST][1] for i in (0, 1) for name in names]))
    n = len(names)
    white = np.full((*GRID, 3), 255, np.uint8)
    rows = [list(colours[:n]), list(colours[n:])]
    for i in (0, 1):
        visible = [
            made[name][i] if name in made else real[name][i] if flags.pixels else white for name in names
        ]
        rows.insert(2 * i, visible)
    if not (flags.pixels or made):
        rows = [rows[1], rows[3]]
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(flags.output), sheet(rows)[..., ::-1])
    print(f"\n{flags.output}: columns {', '.join(names)}; rows colour, its features, thermal, its features")
