"""The page: whole, offline, small, and true to the result it was made from."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tdepth_jax.metrics import baselines as still
from tdepth_jax.metrics.protocols import protocols
from tdepth_jax.reports import frames, html
from tdepth_jax.training import evaluator

N, H, W = 12, 24, 32


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    truth = np.repeat(40 / (1 + np.arange(H))[:, None], W, 1) * rng.lognormal(0, 0.3, (N, H, W))
    truth = truth.astype(np.float32)
    truth[:, :4] = 0
    predicted = (np.where(truth > 0, truth, 60) * rng.lognormal(0, 0.1, truth.shape)).astype(np.float32)
    table = np.zeros(N, [("sequence", "U20"), ("index", "i8"), ("condition", "U8")])
    table["sequence"], table["index"] = "a <script>", np.arange(N) * 10
    table["condition"] = np.where(np.arange(N) % 2, "night", "day")
    asked = protocols(("none", "median"), ("per_image", "pooled"))
    batch = {
        "thermal/image": np.zeros((N, 4, 4, 1), np.uint16),
        "thermal/K": np.zeros((N, 3, 3), np.float32),
        "thermal/depth": truth[..., None],
        "mask": np.ones(N, bool),
        "example": np.arange(N),
    }
    result = evaluator.score(
        lambda _: {"depth": predicted[..., None]},
        [batch],
        frames=table,
        protocols=asked,
        baselines=still.fit(lambda i: (truth[i], None), N, asked),
        samples=50,
    )
    result |= {
        "model": "x at step 5 (selfsup)",
        "dataset": "world",
        "split": "test",
        "stride": 1,
        "notice": "no evidence about the real world",
        "notes": [],
        "about": [["command", "python -m tdepth_jax.evaluate --workdir=runs/x"], ["date", "today"]],
    }
    looks = {
        title: [
            frames.look(
                r, np.arange(H * W).reshape(H, W), predicted[r["example"]], truth[r["example"]], asked[2]
            )
            for r in rows
        ]
        for title, rows in frames.pick(result["frames"], "median", each=2).items()
    }
    return result, frames.gallery(looks, asked[2], "median")


HISTORY = [{"step": s, "loss": 1 / s, "images_per_sec": 50.0 + s, "mfu": None} for s in range(1, 50)]


class Page(HTMLParser):
    """Collects what the page loads and whether its tags close."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.loads, self.open, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_offline_and_small(scored):
    result, gallery = scored
    text = html.render(result, gallery=gallery, history=HISTORY)
    page = Page(text)
    assert page.open == []
    assert page.loads
    assert all(load.startswith("data:image/") for load in page.loads)
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "a &lt;script&gt;" in text  # names from the data are data
    assert len(text.encode()) < 10e6


def test_the_page_says_what_the_result_says(scored):
    result, gallery = scored
    text = html.render(result, gallery=gallery, history=HISTORY)
    lead = html.leading(result)
    assert lead["name"] == "median/per_image"
    value = lead["groups"][0]["metrics"]["abs_rel"]
    assert f'<div class="big">{value:.3f}</div>' in text
    for wanted in (
        "no evidence about the real world",
        "best row-wise depth",
        "night",
        "10-20 m",
        "loss (last",
    ):
        assert wanted in text
    for protocol in result["protocols"]:
        assert f"<h3>{protocol['name']}</h3>" in text
    best = min(b["groups"][0]["metrics"]["abs_rel"] for b in lead["baselines"])
    assert f"{100 * value / best:.0f} % of the error" in text or "does not beat" in text
    assert text.count('<div class="panels">') == sum(map(len, gallery.groups.values()))


def test_without_pictures_baselines_or_history_it_is_still_a_page(scored):
    result, _ = scored
    bare = result | {"protocols": [p | {"baselines": []} for p in result["protocols"][:1]]}
    page = Page(html.render(bare))
    assert page.open == []
    assert page.loads == []


def test_report_writes_both_files_and_nothing_else(scored, tmp_path):
    result, gallery = scored
    page = html.report(tmp_path, result, gallery=gallery)
    folder = tmp_path / "eval" / "world-test"
    assert str(page) == str(folder / "report.html")
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.json", "report.html"]
    assert json.loads((folder / "metrics.json").read_text())["frames"] == result["frames"]


def test_a_report_that_cannot_be_made_leaves_the_old_one(scored, tmp_path):
    result, _ = scored
    html.report(tmp_path, result)
    before = {p: p.read_bytes() for p in (tmp_path / "eval" / "world-test").iterdir()}
    with pytest.raises(ValueError):
        html.report(tmp_path, result | {"step": float("nan")})
    after = {p: p.read_bytes() for p in (tmp_path / "eval" / "world-test").iterdir()}
    assert after == before
