"""Goodput's account by hand, and the watchdog with a clock of its own."""

from __future__ import annotations

import threading
import time

import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.training import watchdog
from tdepth_jax.training.goodput import Goodput
from tdepth_jax.training.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_in_steps_that_last_over_all_time(tmp_path):
    clock = Clock()
    first = Goodput(tmp_path, 0, clock=clock)
    clock.now += 10  # compiles
    first.add(30)
    clock.now += 30
    assert first.share() == pytest.approx(30 / 40)
    first.saved(5)
    first.add(20)  # undone by a kill
    clock.now += 20 + 40  # and the machine was gone for a while
    again = Goodput(tmp_path, 5, clock=clock)
    assert again.share() == pytest.approx(30 / 100)
    again.add(50)
    clock.now += 50
    assert again.share() == pytest.approx(80 / 150)
    again.saved(10)
    # Back to an older checkpoint: what came after it is lost, too.
    assert Goodput(tmp_path, 5, clock=clock).share() == pytest.approx(30 / 150)


def test_a_damaged_account_costs_the_account_alone(tmp_path):
    (tmp_path / "goodput.json").write_text('{"began": 12')
    assert Goodput(tmp_path, 5).share() == 0.0


def test_no_account_is_kept_without_a_folder(tmp_path):
    kept = Goodput(None, 0)
    kept.add(1)
    kept.saved(1)
    assert not list(tmp_path.iterdir())


def test_the_watchdog_says_what_took_too_long_and_for_long_things_waits_longer():
    said: list[str] = []
    ended = threading.Event()

    def end(sentence: str) -> None:
        said.append(sentence)
        ended.set()

    with Watchdog(0.2, end=end) as dog:
        dog.doing(7, "scoring or saving", patience=1000)
        assert not ended.wait(0.6)
        dog.doing(8, "waiting for its data")
        assert ended.wait(10)
    assert "hangs: waiting for its data at step 8" in said[0]
    assert "process 0 of 1" in said[0]


def test_a_watchdog_that_is_off_watches_nothing():
    with Watchdog(0, end=lambda sentence: pytest.fail(sentence)) as dog:
        dog.doing(1, "in a step")
        time.sleep(0.05)


def test_a_limit_that_is_none(monkeypatch):
    monkeypatch.setenv("TDEPTH_HANG_SECONDS", "soon")
    with pytest.raises(UserError, match="TDEPTH_HANG_SECONDS='soon' must be a number"):
        Watchdog()


def test_alone_nothing_is_slowest():
    assert watchdog.slowest(0.5, 2.0) == (0.25, "")
    assert watchdog.slowest(3.0, 2.0) == (1.0, "")
