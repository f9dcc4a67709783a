"""Jobs of several processes: the same losses, no example twice or left out, and an end to every kind of trouble."""

from __future__ import annotations

import collections
import json
import signal

import jobs
import numpy as np
import pytest
from jobs import FRAMES, Job, launch, losses, seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted job of one process."""
    job = Job(workdir=tmp_path_factory.mktemp("whole"))
    assert launch(job).wait(300) == [0]
    return job.workdir


@pytest.mark.parametrize("processes", [2, 4])
def test_as_many_processes_train_to_the_losses_of_one(processes, whole, tmp_path):
    launched = launch(Job(workdir=tmp_path), processes)
    assert launched.wait() == [0] * processes
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 13))
    assert [v for _, v in losses(tmp_path)] == pytest.approx([v for _, v in losses(whole)], rel=1e-5)
    assert "step 12/12" in launched.said(0)
    assert not any("step 12/12" in launched.said(i) for i in range(1, processes))  # one writes, one speaks


def test_four_then_two_then_one_see_every_example_once_an_epoch(whole, tmp_path):
    # 40 frames in batches of 8: an epoch is 5 steps. Handed over within epochs, at steps 4 and 8.
    for processes, steps in ((4, 4), (2, 8), (1, 15)):
        assert launch(Job(workdir=tmp_path, steps=steps), processes).wait() == [0] * processes
    taken: dict[int, list[int]] = collections.defaultdict(list)
    parts = collections.Counter()
    for _, step, _, examples in seen(tmp_path):
        taken[step] += examples
        parts[step] += 1
        assert len(examples) == 8 // {True: 4, False: 2 if step <= 8 else 1}[step <= 4]
    assert [parts[step] for step in (1, 4, 5, 8, 9, 15)] == [4, 4, 2, 2, 1, 1]
    for epoch in range(3):
        examples = [i for step in range(5 * epoch + 1, 5 * epoch + 6) for i in taken[step]]
        assert sorted(examples) == list(range(FRAMES))
    # The same global order as one process has.
    alone = {step: sorted(examples) for _, step, _, examples in seen(whole)}
    assert {step: sorted(taken[step]) for step in alone} == alone
    assert [v for _, v in losses(tmp_path)][:12] == pytest.approx([v for _, v in losses(whole)], rel=1e-5)


def test_a_process_killed_in_a_step_ends_the_job_and_the_rest_is_bit_identical(tmp_path):
    straight = Job(workdir=tmp_path / "straight")
    assert launch(straight, 2).wait() == [0, 0]
    job = Job(workdir=tmp_path / "killed", pause=0.1, environment=(("TDEPTH_HEARTBEAT_SECONDS", "1000"),))
    launched = launch(job, 2)
    launched.until(lambda: jobs.lines(job.workdir) >= 6)
    launched.kill(1, signal.SIGKILL)
    codes = launched.wait()  # long before a heartbeat is missed
    assert codes[1] == -signal.SIGKILL
    assert codes[0] == 75
    assert "process 0 of 2" in launched.said(0)
    assert "lost another process of the job" in launched.said(0)
    assert "the same command on all of them resumes" in launched.said(0)
    assert launch(Job(workdir=job.workdir), 2).wait() == [0, 0]
    assert losses(job.workdir) == losses(straight.workdir)
    for name, value in jobs.weights(straight.workdir).items():
        np.testing.assert_array_equal(value, jobs.weights(job.workdir)[name])


def test_the_first_process_killed_ends_the_others(tmp_path):
    job = Job(workdir=tmp_path, pause=0.1)
    launched = launch(job, 2)
    launched.until(lambda: jobs.lines(job.workdir) >= 2)
    launched.kill(0, signal.SIGKILL)
    codes = launched.wait()
    assert codes[1] not in (0, None)
    assert "process" in launched.said(1)


@pytest.mark.parametrize("told", [(1,), (0, 1)])
def test_sigterm_to_any_saves_all_at_one_step_and_resumes_there(told, tmp_path):
    job = Job(workdir=tmp_path, pause=0.1, save_every=100, steps=14, eval_every=1)
    launched = launch(job, 2)
    launched.until(lambda: jobs.lines(job.workdir) >= 3)
    for number in told:
        launched.kill(number, signal.SIGTERM)
    assert launched.wait() == [143, 143]
    (saved,) = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert 3 <= saved < 14
    first = [row for row in seen(tmp_path) if row[0] == 0]
    assert {max(step for _, step, process, _ in first if process == i) for i in (0, 1)} == {saved}
    assert launch(Job(workdir=tmp_path, steps=14, eval_every=1), 2).wait() == [0, 0]
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 15))
    rows = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    scored = [row["step"] for row in rows if "eval/score" in row]
    assert scored == list(range(1, 15))  # the saved step, too, when the job went on
    assert min(step for when, step, _, _ in seen(tmp_path) if when == 1) == saved + 1


def test_a_process_that_hangs_is_ended_with_what_it_did(tmp_path):
    job = Job(workdir=tmp_path, stuck=(1, 4), environment=(("TDEPTH_HANG_SECONDS", "6"),))
    launched = launch(job, 2)
    codes = launched.wait()
    assert codes == [75, 75]
    said = launched.said(1)
    assert "process 1 of 2" in said
    assert "hangs: waiting for its data at step 4" in said
    assert "jobs.py" in said  # where in the code
    assert "in a step" in launched.said(0) or "lost another process" in launched.said(0)


def test_a_mistake_that_one_process_finds_ends_all(tmp_path):
    launched = launch(Job(workdir=tmp_path, mistaken=(1, 3)), 2)
    codes = launched.wait()
    assert codes == [75, 2]
    assert "error: record 7 of this host's disk is damaged" in launched.said(1)


def test_the_slow_process_is_named_and_counted(tmp_path):
    job = Job(workdir=tmp_path, slow=(1, 0.15), steps=9, log_every=3)
    launched = launch(job, 2)
    assert launched.wait() == [0, 0]
    assert "warning: process 1 waits" in launched.said(0)
    assert "warning" not in launched.said(1)
