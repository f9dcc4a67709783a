"""The loop with a toy system: what is written, what a resumed run continues, and how it stops."""

import dataclasses
import itertools
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.training import loop, mesh, programs, start, targets
from tdepth_jax.training.checkpoint import Checkpoints
from tdepth_jax.training.run import _or_said


def run(workdir, batches=None, *, config=None, system=None, evaluate=lambda variables: {}, cache=None):
    """Trains the toy in `workdir`, resuming as the train door does."""
    workdir.mkdir(exist_ok=True)
    config, system = config or toys.config(), system or toys.make()
    devices = mesh.make_mesh(configs.Mesh())
    with Checkpoints(workdir, keep=config.train.keep) as checkpoints:
        done = checkpoints.latest()
        if done is None:
            state, frozen = start.fresh(system, devices, config)
            checkpoints.save_frozen(frozen)
        else:
            state, frozen, data = start.resume(system, devices, config, checkpoints, done)
            assert data["step"] == done
        return loop.train(
            system, state, frozen, batches or toys.batches(done or 0),
            config=config, mesh=devices, workdir=workdir, checkpoints=checkpoints,
            data_position=lambda step: {"step": step}, evaluate=evaluate, cache=cache,
        )  # fmt: skip


def taught(*, by="backbone"):
    """A system whose teacher looks with the frozen backbone, or with the head that is trained."""
    system = toys.make(teacher=True)
    if by == "head":
        return system

    def teacher(variables, batch):
        seen = jnp.tanh(batch["x"] @ variables["params"]["net"]["backbone"]["kernel"])
        return {"y": seen.sum(1, keepdims=True), "half": seen.astype(jnp.bfloat16)}

    (update,) = system.updates
    loss = lambda params, mutable, batch, targets, rng: update.loss(params, mutable, batch, targets["y"], rng)  # noqa: E731
    return dataclasses.replace(system, teacher=teacher, updates=(dataclasses.replace(update, loss=loss),))


def records(step=0):
    """Batches of 16 out of 32 records, by their numbers."""
    rng = np.random.RandomState(7)
    stored = toys.batch(0, size=32)
    while True:
        chosen = rng.permutation(32)[:16]
        yield {"x": stored["x"][chosen], "y": stored["y"][chosen], "example": chosen.astype(np.int64)}


def losses(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def test_every_step_is_logged_once_and_the_score_comes_last(tmp_path):
    outcome = run(tmp_path, evaluate=lambda variables: {"score": 0.5})
    assert outcome.step == 12
    assert not outcome.stopped
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 13))
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 12, "eval/score": 0.5}
    assert any((tmp_path / "tensorboard").iterdir())


def test_a_run_that_dies_between_saves_ends_as_if_it_had_not(tmp_path):
    whole = run(tmp_path / "whole")
    dying = itertools.islice(toys.batches(), 8)  # runs dry after step 8; the last save was at 5
    with pytest.raises(StopIteration):
        run(tmp_path / "broken", dying)
    outcome = run(tmp_path / "broken")
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    for name, value in whole.state.trainable.items():
        np.testing.assert_array_equal(value, outcome.state.trainable[name])


def test_half_a_line_left_by_a_kill_is_dropped(tmp_path):
    run(tmp_path / "whole")
    with pytest.raises(StopIteration):
        run(tmp_path / "broken", itertools.islice(toys.batches(), 7))
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    run(tmp_path / "broken")
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert run(tmp_path, iter([])).step == 12
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_sigterm_saves_the_step_under_way_and_the_run_goes_on_from_it(tmp_path):
    def until_told():
        for step, batch in enumerate(toys.batches()):
            if step == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    outcome = run(tmp_path / "told", until_told())
    assert outcome.stopped
    assert outcome.step == 8
    run(tmp_path / "told")
    run(tmp_path / "whole")
    assert losses(tmp_path / "told") == losses(tmp_path / "whole")


@pytest.mark.parametrize("told", [4, 12])
def test_a_run_that_was_stopped_where_it_is_scored_is_scored_when_it_goes_on(tmp_path, told):
    """SIGTERM leaves no time for it: the step is saved at once. After the last step nothing else is left to do."""

    def until_told():
        for step, batch in enumerate(toys.batches(), start=1):
            if step == told:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    def scored(workdir):
        lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        return [(row["step"], row.get("eval/norm", row.get("loss"))) for row in lines]

    def evaluate(variables):
        return {"norm": float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(variables)))}

    config = toys.config()
    with config.unlocked():
        config.eval.every = 4
    run(tmp_path / "whole", config=config, evaluate=evaluate)
    outcome = run(tmp_path / "told", until_told(), config=config, evaluate=evaluate)
    assert outcome.stopped
    assert scored(tmp_path / "told")[-1][0] == told
    for _ in range(2):  # once, whatever else is asked of it
        run(tmp_path / "told", config=config, evaluate=evaluate)
        assert scored(tmp_path / "told") == scored(tmp_path / "whole")


def test_cached_targets_train_to_the_same_bits_and_the_teacher_looks_once(tmp_path, monkeypatch, capfd):
    system, config = taught(), toys.config(steps=30)
    run(tmp_path / "plain", records(), system=system, config=config)
    assert "the teacher takes" in capfd.readouterr().out
    asked = []
    compiled = programs.compiled

    def counting(*arguments):
        found = compiled(*arguments)

        def teach(state, frozen, batch):
            asked.append(batch)
            return found.teach(state, frozen, batch)

        teach.memory_analysis = found.teach.memory_analysis
        return dataclasses.replace(found, teach=teach)

    monkeypatch.setattr(programs, "compiled", counting)
    kept = targets.Cache(tmp_path / "targets", 32)
    run(tmp_path / "kept", records(), system=system, config=config, cache=kept)
    assert losses(tmp_path / "kept") == losses(tmp_path / "plain")
    assert 3 <= len(asked) < 15  # two by hand, and until every record was in a batch
    # What an earlier start left is used by the next.
    asked.clear()
    run(tmp_path / "again", records(), system=system, config=config, cache=kept)
    assert losses(tmp_path / "again") == losses(tmp_path / "plain")
    assert len(asked) == 2
    # Of as many other records they are no use.
    asked.clear()
    others = dataclasses.replace(kept, fingerprint="others")
    run(tmp_path / "others", records(), system=system, config=config, cache=others)
    assert len(asked) > 2


def test_the_targets_of_a_teacher_that_learns_are_not_kept(tmp_path):
    with pytest.raises(UserError, match="reads parameters that are trained"):
        run(tmp_path, records(), system=taught(by="head"), cache=targets.Cache(tmp_path / "targets", 32))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"flip": True, "scale_crop": 1.0}, "data.flip=false"),
        ({"flip": False, "scale_crop": 1.1}, "data.scale_crop=1"),
    ],
)
def test_targets_of_augmented_images_are_not_kept(tmp_path, data, sentence):
    config = toys.config(cache_targets=True)
    config.data = data
    with pytest.raises(UserError, match=sentence):
        targets.cache(config, taught(), tmp_path, 32)
    assert targets.cache(config, toys.make(), tmp_path, 32) is None


def test_endless_nan_stops_the_run_and_keeps_the_batch(tmp_path):
    def poisoned():
        for step, batch in enumerate(toys.batches()):
            if step >= 4:
                batch["x"][0, 0] = np.nan
            yield batch

    with pytest.raises(UserError, match=r"3 steps in a row.*step 7.*bad_batch_7\.npz.*learning_rate"):
        run(tmp_path, poisoned())
    with np.load(tmp_path / "bad_batch_7.npz") as kept:
        assert np.isnan(kept["x"]).any()


def test_a_run_in_which_no_pixel_teaches_any_more_is_stopped(tmp_path):
    system = toys.make()
    (update,) = system.updates

    def masked(params, mutable, batch, targets, rng):
        terms, mutable = update.loss(params, mutable, batch, targets, rng)
        return terms | {"valid_share": ((batch["y"] != 0).mean(), jnp.float32(1))}, mutable

    def blinded():
        for step, batch in enumerate(toys.batches(), start=1):
            if step in (2, 3) or step >= 5:  # two in a row are no reason
                batch["y"] = np.zeros_like(batch["y"])
            yield batch

    system = dataclasses.replace(system, updates=(dataclasses.replace(update, loss=masked),))
    with pytest.raises(UserError, match=r"no pixel taught anything in 3 steps in a row, the last at step 7"):
        run(tmp_path, blinded(), system=system)


def test_a_systems_own_warning_is_said_once(tmp_path, capfd):
    remark = lambda logs: "it learns" if logs["loss"] > 0 and "skipped_steps" in logs else ""  # noqa: E731
    run(tmp_path, system=dataclasses.replace(toys.make(), remark=remark))
    assert capfd.readouterr().out.count("warning: it learns") == 1


def test_the_frozen_weights_are_written_once_and_the_trained_ones_alone_after(tmp_path):
    run(tmp_path)
    frozen = (tmp_path / "frozen").stat().st_mtime_ns
    manifest = list((tmp_path / "checkpoints" / "12").rglob("_METADATA"))
    text = " ".join(p.read_text() for p in manifest)
    assert "net/head/kernel" in text
    assert "net/backbone" not in text
    run(tmp_path, config=toys.config(steps=14))
    assert (tmp_path / "frozen").stat().st_mtime_ns == frozen


def test_frozen_weights_are_bit_identical_after_training(tmp_path):
    system = toys.make()
    before = system.init(jax.random.key(0))["params"]["net"]["backbone"]["kernel"]
    run(tmp_path, system=system)
    devices = mesh.make_mesh(configs.Mesh())
    with Checkpoints(tmp_path) as checkpoints:
        _, frozen, _ = start.resume(system, devices, toys.config(), checkpoints, 12)
    np.testing.assert_array_equal(frozen["net/backbone/kernel"], before)


def test_another_model_is_refused_by_name_shape_and_count(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match=r"does not fit this config.*opt/critic.*is missing"):
        run(tmp_path, system=toys.make(adversarial=True), config=toys.config(steps=14))


def test_a_half_written_checkpoint_is_not_picked_up(tmp_path):
    run(tmp_path)
    (tmp_path / "checkpoints" / "99.orbax-checkpoint-tmp-1").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 12


def test_a_split_that_cannot_be_scored_does_not_cost_the_training(capsys):
    def evaluate(variables):
        raise UserError("none of the 4 frames has ground truth")

    assert _or_said(evaluate)({}) == {}
    assert "warning: not scored: none of the 4 frames has ground truth" in capsys.readouterr().out
    assert _or_said(lambda variables: {"none/abs_rel": 0.5})({}) == {"none/abs_rel": 0.5}
