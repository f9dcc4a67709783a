"""HeatNet's runs: who learns from whom, two aims that take turns, and batches of any mixture of day and night."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.systems import heatnet, labelling
from tdepth_jax.training import state, step
from tdepth_jax.training.partition import flatten

pytestmark = pytest.mark.usefixtures("shallow")
SIZE = (32, 64)
SMALL = {
    "data.image_size": SIZE, "data.scale_crop": 1.0, "model.encoder": "resnet18", "model.width": 4,
    "model.decoder": (8, 8, 8, 8), "model.critic_width": 4, "model.dtype": "float32",
    "model.pyramid_dropout": 0.0, "model.decoder_dropout": 0.0, "optimizer.learning_rate": 1e-2,
    "system.classes": ("background", "left", "right"), "system.limits": (0.0, 256.0), "train.steps": 200,
}  # fmt: skip
TEACHERS = {
    "md": {"system__labels": "data", "system__night": "none", "system__confusion_weight": 0.0},
    "mn": {"system__night": "none", "system__confusion_weight": 0.0},
}


def system_of(trains, **more):
    config = configs.defaults("heatnet", systems.schema)
    said = {"system.trains": trains} | {k.replace("__", "."): v for k, v in more.items()}
    for key, value in {**SMALL, **said}.items():
        configs._set(config, key, value, where="test")
    return systems.make(config)


def drawn(init):
    """Variables of the shapes that `init` gives, drawn here: compiling that takes longer than all the rest."""
    rng = np.random.default_rng(0)

    def draw(path, like):
        if "kernel" in path[-1].key or len(like.shape) > 1:
            return rng.normal(0, np.prod(like.shape[:-1]) ** -0.5, like.shape).astype(np.float32)
        return np.full(like.shape, path[-1].key in ("scale", "var"), np.float32)

    found = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0)))
    if "watch" in found:
        found["watch"] = {"critic": heatnet.adversarial.watch_begun()._asdict()}
    return found


def begun(system):
    trainable, frozen, mutable = state.divide(system, drawn(system.init))
    return state.create(system, trainable, mutable, ema=False), frozen


def batch_of(*conditions):
    """Warm on the left is class 1, red on the right class 2; by night colours are dark, and the ground is warmer."""
    rng, n = np.random.default_rng(len(conditions)), len(conditions)
    night = np.array([c == "night" for c in conditions])
    counts = rng.integers(40, 80, (n, 1, *SIZE, 1)) + 60 * night[:, None, None, None, None]
    counts[:, :, 8:24, 8:24] += 100
    colour = rng.integers(0, 60, (n, 1, *SIZE, 3))
    colour[:, :, 8:24, 40:56, 0] += 180
    colour[night] //= 8
    labels = np.zeros((n, *SIZE), np.int32)
    labels[:, 8:24, 8:24], labels[:, 8:24, 40:56] = 1, 2
    return {
        "thermal/image": counts.astype(np.uint16),
        "rgb/image": colour.astype(np.uint8),
        "thermal/labels": labels,
        "condition/day": np.array([c == "day" for c in conditions]),
        "condition/night": night,
    }


MIXED = ("day", "night", "fog", "day")


def test_the_chain_of_runs():
    said = {name: system_of(name, **TEACHERS.get(name, {})) for name in heatnet.RUNS}
    params = {n: set(jax.eval_shape(s.init, jax.random.key(0))["params"]) for n, s in said.items()}
    assert params == {
        "md": {"md"}, "mn": {"md", "mn"}, "rgbt": {"md", "mn", "rgbt", "critic"},
        "rgb": {"md", "rgbt", "rgb", "critic"},
    }  # fmt: skip
    assert {n: s.inherits for n, s in said.items()} == {
        "md": (), "mn": ("md/.*",), "rgbt": ("md/.*", "mn/.*"), "rgb": ("md/.*", "rgbt/.*"),
    }  # fmt: skip
    assert {n: "rgb/image" in s.sees for n, s in said.items()} == {
        "md": True, "mn": False, "rgbt": True, "rgb": True,
    }  # fmt: skip
    assert [u.name for u in said["rgbt"].updates] == ["critic", "network"]
    assert [u.trainable for u in said["rgbt"].updates] == [("critic/.*",), ("rgbt/.*",)]
    assert "thermal/labels" in said["md"].needs
    assert not any("thermal/labels" in said[n].needs for n in ("mn", "rgbt", "rgb"))
    assert "condition/night" not in said["mn"].needs


def test_freiburgs_labels_by_day_need_no_teacher():
    system = system_of("mn", system__labels="data", **TEACHERS["mn"])
    assert system.teacher is None
    assert system.inherits == ()
    assert jax.eval_shape(system.init, jax.random.key(0))["params"].keys() == {"mn"}


def test_md_speaks_by_day_and_mn_by_night():
    system, batch = system_of("rgbt"), batch_of(*MIXED)
    variables = drawn(system.init)
    found = golden.compiled(system.teacher)(variables, batch)
    settings = labelling.Settings(classes=SMALL["system.classes"], normalization="fixed", limits=(0.0, 256.0))
    thermal, colour = labelling.images(batch, settings, rgb=True)
    model = heatnet.PspConfig(encoder="resnet18", width=4, decoder=(8, 8, 8, 8), dtype="float32")

    def says(name, images):
        net = heatnet.PspNet(model, 3, heatnet.RUNS[name])
        return np.asarray(golden.compiled(lambda v: labelling.applied(v, name, net, *images))(variables))

    day, night = says("md", (None, colour)), says("mn", (thermal, None))
    np.testing.assert_array_equal(found["labels"][0], day[0].argmax(-1))
    np.testing.assert_array_equal(found["labels"][3], day[3].argmax(-1))
    np.testing.assert_array_equal(found["labels"][1], night[1].argmax(-1))
    assert (found["labels"][2] == 255).all()  # fog is nobody's
    shares = np.exp(night[1]) / np.exp(night[1]).sum(-1, keepdims=True)
    np.testing.assert_allclose(found["certainty"][1], shares.max(-1), rtol=1e-4)
    assert (np.asarray(found["certainty"])[[0, 2, 3]] == 1).all()


@pytest.fixture(scope="module")
def trained(shallow):
    """(system, state after 60 turns of the critic, then after 25 of the network, logs, frozen, step) of an RGB-T run
    whose confusion weighs much."""
    system = system_of(
        "rgbt",
        system__turns=(60, 25, 100),
        system__confusion_weight=3.0,
        system__doubt=False,
        train__steps=200,
    )
    now, frozen = begun(system)
    teach, advance = (golden.compiled(f) for f in (step.make_teacher(system), step.make_step(system, seed=0)))
    batch, logs, states = batch_of(*MIXED), [], [now]
    targets = teach(now, frozen, batch)
    for turn in range(1, 86):
        now, found = advance(now, frozen, batch, targets)
        logs.append({k: float(v) for k, v in found.items()})
        if turn in (60, 85):
            states.append(now)
    return system, states, logs, frozen, (teach, advance)


def moved(a, b):
    return {
        k.split("/")[0]
        for k in a.trainable
        if (np.asarray(a.trainable[k]) != np.asarray(b.trainable[k])).any()
    }


def test_they_take_turns_with_opposite_aims(trained):
    _, states, logs, _, _ = trained
    assert moved(states[0], states[1]) == {"critic"}
    assert moved(states[1], states[2]) == {"rgbt"}
    first, told, confused = (logs[i] for i in (0, 59, 84))
    domains = lambda log: log["critic/day"] + log["critic/night"]  # noqa: E731
    assert domains(told) < 0.3 * domains(first)  # least squares; saying one half of both is 0.5
    assert domains(told) < 0.3
    assert told["network/confuse_day"] + told["network/confuse_night"] > 1.0
    assert confused["network/confuse_day"] + confused["network/confuse_night"] < 1.0 < domains(confused)
    # The labels were learnt meanwhile, and the total is what the weights say.
    assert confused["network/day"] < 0.8 * told["network/day"]
    total = sum(confused[f"network/{k}"] for k in ("day", "night"))
    total += 3.0 * (confused["network/confuse_day"] + confused["network/confuse_night"])
    assert confused["network/loss"] == pytest.approx(total, rel=1e-4)


def test_how_the_critic_fares_is_logged_and_remarked(trained):
    system, _, logs, _, _ = trained
    assert logs[0]["critic/right"] < logs[59]["critic/right"]
    assert logs[59]["critic/right"] > 0.7
    assert {log["critic/verdict"] for log in logs} <= {-1.0, 0.0, 1.0}
    assert system.remark({"critic/verdict": 0.0}) == system.remark({}) == ""
    assert "confusion_weight" in system.remark({"critic/verdict": 1.0})
    assert "collapsed" in system.remark({"critic/verdict": -1.0})


@pytest.mark.parametrize("conditions", [("day",) * 4, ("night",) * 4, ("fog",) * 4])
def test_a_batch_without_a_domain_trains_on(trained, conditions):
    _, states, _, frozen, (teach, advance) = trained
    batch = batch_of(*conditions)
    now, logs = advance(states[1], frozen, batch, teach(states[1], frozen, batch))
    assert all(np.isfinite(float(v)) for v in logs.values())
    assert int(logs["skipped_steps"]) == 0
    for name in ("day", "night"):
        present = name in conditions
        keys = (f"critic/{name}", f"network/{name}", f"network/confuse_{name}")
        assert all((float(logs[k]) > 0) == present for k in keys)
    watch = [s.mutable["watch"]["critic"] for s in (states[1], now)]
    assert watch[0] == watch[1]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(now.trainable))


def test_teachers_and_their_statistics_stay_as_they_are(trained):
    _, states, _, frozen, _ = trained
    assert {k.split("/")[0] for k in frozen} == {"md", "mn"}
    stats = [flatten(s.mutable["batch_stats"]) for s in states]
    still = {k.split("/")[0] for k in stats[0] if (np.asarray(stats[0][k]) == np.asarray(stats[2][k])).all()}
    assert still == {"md", "mn"}


def test_doubt_is_a_weight_of_pixels_by_night():
    settings = heatnet.Settings()
    batch = {"condition/night": jnp.array([False, True])}
    sure = jnp.ones((2, 1, 2)).at[1, 0].set(jnp.array([0.25, 0.75]))
    weight = heatnet._doubt({"certainty": sure}, batch, settings)
    np.testing.assert_allclose(weight[:, 0], [[1, 1], [0.75, 0.25]])
    published = heatnet._doubt({"certainty": sure}, batch, heatnet.Settings(as_published=True))
    np.testing.assert_allclose(published, 0.5)  # of the day too
    assert heatnet._doubt({}, batch, heatnet.Settings(night="none")) is None


def test_turns_as_published():
    assert heatnet.Settings().order == ()
    assert heatnet.Settings(as_published=True).order == (1, 1, 1)
    assert heatnet.Settings(turns=(1000, 50, 500)).order == (1000, 50, 500)


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("rgbt", {"system__turns": (1, 1)}, "three numbers of steps"),
        ("rgbt", {"system__turns": (1, 0, 1)}, "three numbers of steps"),
        ("md", {}, "no teacher by day"),
        ("mn", {}, "no teacher by night"),
        ("rgbt", {"system__confusion": "both"}, "system.confusion"),
        ("rgbt", {"system__critic_rate": 0.0}, "above 0"),
        ("rgbt", {"data__image_size": (24, 64)}, "at least 32 pixels"),
        ("rgbt", {"system__limits": (5.0, 5.0)}, "the lower first"),
        ("rgbt", {"data__scale_crop": 1.2}, "crop RGB and thermal images apart"),
    ],
)
def test_what_cannot_be_is_refused(name, said, message):
    with pytest.raises(UserError, match=message):
        system_of(name, **said)
