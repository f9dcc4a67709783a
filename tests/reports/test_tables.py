"""Plain-text tables: aligned, and every figure where it belongs."""

import pytest

from tdepth_jax.reports import tables


def group(name="all", kind="overall", abs_rel=0.1234, spread=(0.11, 0.14)):
    metrics = dict.fromkeys(tables.SHOWN, 1.0) | {"abs_rel": abs_rel}
    interval = {"abs_rel": list(spread)} if spread else {}
    return {
        "kind": kind,
        "name": name,
        "images": 3,
        "pixels": 12345,
        "metrics": metrics,
        "interval": interval,
    }


def result(**changes):
    protocol = {
        "name": "median/per_image",
        "describe": "how it was done",
        "groups": [group(), group("night", "condition", 0.5, None)],
        "baselines": [{"name": "constant", "fit": "mean", "groups": [group(abs_rel=0.4, spread=None)]}],
    }
    return {
        "model": "run at step 3 (selfsup)",
        "dataset": "world",
        "split": "test",
        "images": 3,
        "stride": 1,
        "notice": "",
        "notes": [],
        "without_depth": 0,
        "failures": {"count": 0, "named": []},
        "protocols": [protocol],
    } | changes


def test_columns_line_up_and_hold_the_right_figures():
    text = tables.overview(result())
    lines = text.splitlines()
    header = next(line for line in lines if "Abs Rel" in line)
    rows = {line.split("  ")[0]: line for line in lines if line.startswith(("all", "night", "best"))}
    assert set(rows) == {"all", "night", "best constant"}
    end = header.index("Abs Rel") + len("Abs Rel")
    assert [rows[k][end - 5 : end] for k in ("all", "night", "best constant")] == ["0.123", "0.500", "0.400"]
    assert "0.110–0.140" in rows["all"]
    assert "12.3 k" in rows["all"]
    assert "protocol median/per_image: how it was done" in text


def motion(**changes):
    figures = {
        "frames": 30,
        "metres": 17.5,
        "snippet_ate": 0.05271,
        "snippet_ate_std": 0.0274,
        "snippet_re": 0.0279,
        "snippet_re_std": 0.0132,
        "backwards": 0.0,
        "ate_se3": 4.0,
        "ate_sim3": 0.6,
        "rpe_step": 0.3,
        "rpe_turn": 2.0,
        "scale": 8.7,
    }
    every = [figures | {"name": name, "first": 0, "last": 29} for name in ("a", "b")]
    rivals = [figures | {"name": "standing still"}]
    return {
        "describe": "how",
        "trajectories": every,
        "all": figures | {"name": "all"} | changes,
        "baselines": rivals,
    }


def test_the_motion_table_has_the_published_digits_and_warns_of_a_reverse():
    text = tables.overview(result(poses=motion()))
    lines = [line for line in text.splitlines() if line.startswith(("a 0–29", "b 0–29", "all  ", "standing"))]
    assert sum("0.0527 ± 0.0274" in line for line in lines) == 4
    assert "camera motion; how" in text
    assert "backwards" not in text
    assert "25 % of the snippets are predicted to move backwards" in tables.pose_table(motion(backwards=0.25))
    assert "camera motion" not in tables.overview(result(poses=None))


def test_what_was_scored_is_said():
    text = tables.overview(result(stride=3, notice="no evidence", notes=["a note"], without_depth=2))
    assert "run at step 3 (selfsup) on world, split test: 3 frames (every 3rd)" in text
    assert "no evidence" in text
    assert "a note" in text
    assert "2 frames have no ground truth" in text


def test_failures_are_named_and_the_rest_counted():
    named = [{"sequence": "s1", "index": 7, "what": "5 predicted depths are not finite"}]
    text = tables.overview(result(failures={"count": 4, "named": named}))
    assert "sequence s1, frame 7: 5 predicted depths are not finite" in text
    assert "3 more frames failed" in text


@pytest.mark.parametrize(
    ("value", "text"), [(999, "999"), (9999, "9999"), (12345, "12.3 k"), (2.5e6, "2.5 M"), (3e9, "3.0 G")]
)
def test_counts_are_short(value, text):
    assert tables.count(int(value)) == text


def test_an_unknown_figure_is_a_dash():
    assert tables.number(None) == "–"


@pytest.mark.parametrize(
    ("n", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_ordinals(n, text):
    assert tables.ordinal(n) == text
