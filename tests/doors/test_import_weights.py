"""The import door: what it writes is what the models read; what it cannot use, it says in one sentence."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file

from tdepth_jax.errors import UserError
from tdepth_jax.import_weights import import_weights, main
from tdepth_jax.models.depth import DepthConfig, DepthNet

GOLDEN = pathlib.Path(__file__).parents[1] / "models"
sys.path.insert(0, str(GOLDEN))
import models_golden as golden  # noqa: E402


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
        import_weights(tmp_path / f"{i}.safetensors", tmp_path / str(i))
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
        import_weights(tmp_path / "file", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "file") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_touched(depth_anything, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        import_weights(depth_anything, tmp_path / "out")


def test_the_command_ends_with_code_2(tmp_path):
    command = [sys.executable, "-m", "tdepth_jax.import_weights", "absent.pth", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: absent.pth: there is no such file\n"
