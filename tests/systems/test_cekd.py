"""CEKD's two methods: what they train, what they leave alone, and that the student follows its teacher."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.training import state, step
from tdepth_jax.training.partition import flatten

pytestmark = pytest.mark.usefixtures("shallow")
SIZE = (32, 64)
SMALL = {
    "data.image_size": SIZE, "data.scale_crop": 1.0, "model.encoder": "resnet18", "model.width": 8,
    "model.attention_heads": 2, "model.attention_width": 4, "model.position_size": SIZE, "model.dtype": "float32",
    "system.classes": ("unlabeled", "left", "right"), "optimizer.learning_rate": 3e-3,
}  # fmt: skip
TEACHER = {
    f"model.teacher_{k}": SMALL[f"model.{k}"]
    for k in ("encoder", "width", "attention_heads", "attention_width")
}


def config_of(name, **more):
    config = configs.defaults(name, systems.schema)
    said = (
        SMALL
        | (TEACHER if name == "cekd_student" else {})
        | {k.replace("__", "."): v for k, v in more.items()}
    )
    for key, value in said.items():
        configs._set(config, key, value, where="test")
    return config


def system_of(name, **more):
    return systems.make(config_of(name, **more))


@pytest.fixture(scope="module")
def batch():
    """Warm on the left is class 1, red on the right is class 2."""
    rng = np.random.default_rng(0)
    counts = rng.integers(40, 80, (4, 1, *SIZE, 1))
    counts[:, :, 8:24, 8:24] += 120
    colour = rng.integers(0, 60, (4, 1, *SIZE, 3))
    colour[:, :, 8:24, 40:56, 0] += 180
    labels = np.zeros((4, *SIZE), np.int32)
    labels[:, 8:24, 8:24], labels[:, 8:24, 40:56] = 1, 2
    return {
        "thermal/image": counts.astype(np.uint16),
        "rgb/image": colour.astype(np.uint8),
        "thermal/labels": labels,
    }


def drawn(init, *inputs):
    """Variables of the shapes that `init` gives, drawn here: compiling that takes longer than all the rest."""
    rng = np.random.default_rng(0)

    def draw(path, like):
        if "kernel" in path[-1].key or len(like.shape) > 1:
            return rng.normal(0, np.prod(like.shape[:-1]) ** -0.5, like.shape).astype(np.float32)
        return np.full(like.shape, path[-1].key in ("scale", "var"), np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0), *inputs))


def begun(system, **given):
    variables = drawn(system.init)
    variables = {name: {**tree, **given.get(name, {})} for name, tree in variables.items()}
    trainable, frozen, mutable = state.divide(system, variables)
    return state.create(system, trainable, mutable, ema=False), frozen


@pytest.fixture(scope="module")
def taught(shallow, batch):
    """(variables, first and last logs) of a teacher after 40 steps."""
    system = system_of("cekd_teacher")
    now, frozen = begun(system)
    assert not frozen
    advance = golden.compiled(step.make_step(system, seed=0))
    logs = []
    for _ in range(40):
        now, found = advance(now, frozen, batch)
        logs.append({k: float(v) for k, v in found.items()})
    return state.variables(now, frozen), logs


def accuracy(system, variables, batch):
    single = {k: v[:, 0] if v.ndim == 5 else v for k, v in batch.items()}
    found = golden.compiled(system.predict)(variables, single)
    return float((np.asarray(found["labels"]) == batch["thermal/labels"]).mean()), found


def test_the_teacher_learns_labels_and_edges(taught, batch):
    variables, logs = taught
    assert logs[-1]["labels"] < 0.3 * logs[0]["labels"]
    assert logs[-1]["edges"] < 0.8 * logs[0]["edges"]
    assert logs[-1]["loss"] == pytest.approx(logs[-1]["labels"] + logs[-1]["edges"], rel=1e-5)
    assert {"labels", "edges", "loss"} <= logs[-1].keys()
    # By running statistics, which come after; class 2 is seen in colour only.
    right, found = accuracy(system_of("cekd_teacher"), variables, batch)
    assert right > 0.85
    assert (np.asarray(found["labels"])[batch["thermal/labels"] == 2] == 2).mean() > 0.5
    assert found["edges"].shape == (4, SIZE[0] // 4, SIZE[1] // 4, 1)


def test_the_first_phase_has_no_edges_and_hands_its_weights_on():
    first, second = system_of("cekd_teacher", model__edges="none"), system_of("cekd_teacher")
    shapes = [flatten(jax.eval_shape(s.init, jax.random.key(0))["params"]) for s in (first, second)]
    assert shapes[0].keys() < shapes[1].keys()
    assert all("edges" in key for key in shapes[1].keys() - shapes[0].keys())
    assert first.updates[0].weights == {"labels": 1.0}


def test_a_teacher_without_rgb_needs_none():
    system = system_of("cekd_teacher", model__rgb=False)
    assert system.needs == {"thermal/image", "thermal/labels"}
    assert system.sees == frozenset()
    assert not any("/rgb/" in k for k in flatten(jax.eval_shape(system.init, jax.random.key(0))["params"]))


ALL = {"system__attended_weight": 1.0, "system__uncertain_weight": 1.0}


def test_the_student_follows_its_teacher_and_leaves_it_alone(taught, batch):
    system = system_of("cekd_student", **ALL)
    variables, _ = taught
    now, frozen = begun(system, params=variables["params"], batch_stats=variables["batch_stats"])
    assert frozen.keys() == {f"teacher/{k}" for k in flatten(variables["params"]["teacher"])}
    assert all(not key.startswith("teacher") for key in now.trainable)
    assert "'teacher/" not in str(jax.tree.structure(now.opt))
    teach, advance = (golden.compiled(f) for f in (step.make_teacher(system), step.make_step(system, seed=0)))
    unlabelled = {k: v for k, v in batch.items() if k != "thermal/labels"}
    logs = []
    for _ in range(30):
        now, found = advance(now, frozen, unlabelled, teach(now, frozen, unlabelled))
        logs.append({k: float(v) for k, v in found.items()})
    names = {"label", "soft", "similarity", "hint", "attended", "uncertain"}
    assert names <= logs[0].keys()
    # Two untrained networks are alike in how their pixels resemble each other: that loss starts near its floor.
    rising = [n for n in names - {"similarity"} if logs[-1][n] >= logs[0][n]]
    assert not rising, (logs[0], logs[-1])
    assert logs[-1]["loss"] < 0.7 * logs[0]["loss"]
    for ours, theirs in zip(
        jax.tree.leaves(now.mutable["batch_stats"]["teacher"]),
        jax.tree.leaves(variables["batch_stats"]["teacher"]), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)


def test_no_gradient_reaches_the_teacher(batch):
    """Its targets do not follow its parameters, and nothing else of the loss reads those."""
    system = system_of("cekd_student")
    now, frozen = begun(system)

    @golden.compiled
    def slopes(frozen):
        say = lambda frozen: step.make_teacher(system)(now, frozen, batch)  # noqa: E731
        return jax.jvp(say, (frozen,), (jax.tree.map(jnp.ones_like, frozen),))[1]

    assert not any(np.asarray(x).any() for x in jax.tree.leaves(slopes(frozen)))
    targets = jax.eval_shape(step.make_teacher(system), now, frozen, batch)
    params = state.variables(now, frozen)["params"]
    loss = system.updates[0].loss
    traced = jax.make_jaxpr(
        lambda theirs, ours, targets: loss({**ours, "teacher": theirs}, now.mutable, batch, targets, None)
    )
    program = traced(params.pop("teacher"), params, targets).jaxpr
    read = {id(v) for equation in program.eqns for v in equation.invars}
    unread = [id(v) not in read for v in program.invars]
    assert all(unread[: len(frozen)])
    assert not any(unread[len(frozen) : -len(jax.tree.leaves(targets))])


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        ({"soft": 0.0, "similarity": 0.0, "hint": 0.0}, {"label"}),
        ({"similarity": 0.0}, {"label", "soft", "hint"}),
        ({"hint": 0.0, "attended": 1.0}, {"label", "soft", "similarity", "attended"}),
        ({"hint": 0.0, "uncertain": 2.0}, {"label", "soft", "similarity", "uncertain"}),
    ],
)
def test_losses_are_chosen_by_their_weights(weights, terms, batch):
    system = system_of("cekd_student", **{f"system__{k}_weight": v for k, v in weights.items()})
    assert system.updates[0].weights.keys() == terms
    variables = jax.eval_shape(system.init, jax.random.key(0))
    mutable = {"batch_stats": variables["batch_stats"]}
    targets = jax.eval_shape(system.teacher, variables, batch)
    found, _ = jax.eval_shape(
        system.updates[0].loss, variables["params"], mutable, batch, targets, jax.random.key(0)
    )
    assert found.keys() == terms
    assert ("attended" in variables["params"]) == ("attended" in terms)


def test_on_true_labels_alone_there_is_no_teacher():
    weights = {f"system__{k}_weight": 0.0 for k in ("soft", "similarity", "hint")}
    system = system_of("cekd_student", system__labels="truth", **weights)
    assert system.teacher is None
    assert system.needs == {"thermal/image", "thermal/labels"}
    assert system.inherits == ()
    assert jax.eval_shape(system.init, jax.random.key(0))["params"].keys() == {"student"}


def test_as_published_is_what_the_public_code_does(taught, batch):
    """No logit below zero, and an edge loss that never gets small."""
    variables, logs = taught
    system = system_of("cekd_teacher", system__as_published=True)
    mutable = {"batch_stats": variables["batch_stats"]}
    terms, _ = golden.compiled(system.updates[0].loss)(
        variables["params"], mutable, batch, None, jax.random.key(0)
    )
    total, count = terms["edges"]
    assert float(total / count) > max(0.05, 1.5 * logs[-1]["edges"])
    student = systems.make(config_of("cekd_student", system__as_published=True))
    assert student.inherits == (r"teacher/.*",)


def test_rgb_is_brought_to_the_thermal_pixels_by_depth():
    """A plane at 10 m, an RGB camera 0.5 m to the right with twice the focal length: u' = 2 (u - cx) + cx - 2."""
    from tdepth_jax.systems import labelling

    h, w = 8, 32
    K = np.array([[20.0, 0, 15.5], [0, 20.0, 3.5], [0, 0, 1]], np.float32)
    zoom = K * np.array([[2], [2], [1]], np.float32) + np.array([[0, 0, -15.5], [0, 0, -3.5], [0, 0, 0]])
    rgb_from_thermal = np.eye(4, dtype=np.float32)
    rgb_from_thermal[0, 3] = -0.5
    ramp = np.broadcast_to(np.arange(w, dtype=np.uint8)[None, None, :, None] * 4, (1, h, w, 3))
    batch = {
        "thermal/image": np.zeros((1, h, w, 1), np.uint16), "thermal/K": K[None], "rgb/K": zoom[None],
        "rgb/image": ramp, "rgb_from_thermal": rgb_from_thermal[None],
        "thermal/depth": np.full((1, 2 * h, 2 * w, 1), 10.0, np.float32),  # at its stored size
    }  # fmt: skip
    settings = labelling.Settings(alignment="depth", classes=("a", "b"))
    _, colour = labelling.images({k: jnp.asarray(v) for k, v in batch.items()}, settings, rgb=True)
    u = 2 * (np.arange(w) - 15.5) + 15.5 - 0.5 * 40 / 10
    inside = (u >= 0) & (u <= w - 1)
    assert 10 < inside.sum() < w
    np.testing.assert_allclose(np.asarray(colour)[0, 3, inside, 0], 4 * u[inside] / 255, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(colour)[0, 3, ~inside], 0)


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("cekd_student", {"model__rgb": True}, "thermal images alone"),
        ("cekd_student", {"model__width": 4}, "has 4 channels and the teacher's 8"),
        ("cekd_student", {"system__temperature": 0.0}, "temperature above 0"),
        ("cekd_student", {"system__labels": "none"}, "system.labels"),
        ("cekd_teacher", {"system__classes": ("one",)}, "two or more"),
        ("cekd_teacher", {"system__edge_width": "three"}, "system.edge_width"),
        ("cekd_teacher", {"data__scale_crop": 1.2}, "crop RGB and thermal images apart"),
    ],
)
def test_what_cannot_be_is_refused(name, said, message):
    with pytest.raises(UserError, match=message):
        system_of(name, **said)


def test_both_encoders_start_from_an_import_but_for_the_stage_that_attends(tmp_path):
    import orbax.checkpoint as ocp

    from tdepth_jax.models.resnet import VARIANTS, ResNet
    from tdepth_jax.training import mesh, start

    config = config_of("cekd_teacher", model__encoder_weights=str(tmp_path), optimizer__name="sgd")
    plain = dataclasses.replace(VARIANTS["resnet18"], width=8)
    imported = drawn(ResNet(plain).init, jnp.zeros((1, 32, 32, 3)))
    imported["batch_stats"] = jax.tree.map(lambda x: x + np.float32(0.5), imported["batch_stats"])
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "resnet", flatten(imported["params"]))
        checkpointer.save(tmp_path / "resnet_statistics", flatten(imported["batch_stats"]))
    begun, _ = start.fresh(systems.make(config), mesh.make_mesh(configs.Mesh()), config)
    params, statistics = begun.trainable, flatten(begun.mutable["batch_stats"])
    theirs = imported["params"]
    np.testing.assert_array_equal(params["teacher/rgb/conv1/kernel"], theirs["conv1"]["kernel"])
    np.testing.assert_allclose(
        params["teacher/thermal/conv1/kernel"], theirs["conv1"]["kernel"].mean(2, keepdims=True), rtol=1e-6
    )
    for stream in ("rgb", "thermal"):
        kernel = params[f"teacher/{stream}/layer3_0/conv2/kernel"]
        np.testing.assert_array_equal(kernel, theirs["layer3_0"]["conv2"]["kernel"])
        np.testing.assert_array_equal(statistics[f"teacher/{stream}/layer2_0/bn1/mean"], 0.5)
        assert not np.asarray(statistics[f"teacher/{stream}/layer4/block_0/bn1/mean"]).any()
