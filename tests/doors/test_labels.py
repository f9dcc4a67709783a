"""CEKD through the doors, tiny: two phases of the teacher, the student, its tables and its label maps."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, sentence

from tdepth_jax import errors, evaluate, predict, train

SMALL = {
    "data.image_size": "32,40", "model.encoder": "resnet18", "model.width": "4", "model.attention_heads": "1",
    "model.attention_width": "4", "model.position_size": "32,64", "train.batch_size": "2", "train.steps": "3",
    "train.save_every": "3", "train.log_every": "1", "train.panels_every": "0", "optimizer.warmup_steps": "0",
    "optimizer.name": "sgd",  # compiles in a fraction of the time that AdamW takes
}  # fmt: skip
TEACHER = {
    f"model.teacher_{k}": SMALL[f"model.{k}"]
    for k in ("encoder", "width", "attention_heads", "attention_width")
}
CLASSES = ["unlabeled", "road", "building", "vegetation", "sky", "car", "person", "pole", "bike"]


def argv(name, workdir, data, *more):
    said = SMALL | (TEACHER if "student" in name else {}) | {"data.dataset": str(data)}
    flags = [f"--config.{k}={v}" for k, v in said.items()]
    return [f"--config={ROOT / 'configs' / name}.py", f"--workdir={workdir}", *flags, *more]


@pytest.fixture(scope="module")
def runs(shallow, data, tmp_path_factory):
    """Folders of a finished teacher and student."""
    root = tmp_path_factory.mktemp("cekd")
    train.main(argv("world_cekd_baseline", root / "baseline", data))
    train.main(argv("world_cekd_teacher", root / "teacher", data, f"--init_from={root / 'baseline'}"))
    train.main(argv("world_cekd_student", root / "student", data, f"--init_from={root / 'teacher'}"))
    return root


def test_training_logs_every_loss_and_the_scores(runs):
    lines = [json.loads(line) for line in (runs / "student" / "metrics.jsonl").read_text().splitlines()]
    keys = set().union(*lines)
    assert {"label", "soft", "similarity", "hint", "eval/rtfnet/miou", "eval/present/macc"} <= keys
    teacher = [json.loads(line) for line in (runs / "teacher" / "metrics.jsonl").read_text().splitlines()]
    assert {"labels", "edges", "eval/rtfnet/edge_iou"} <= set().union(*teacher)


def test_a_student_keeps_its_teacher_as_it_was(runs):
    from tdepth_jax.training.restore import load_run

    teacher, student = (load_run(runs / name).variables for name in ("teacher", "student"))
    for collection in ("params", "batch_stats"):
        ours, theirs = (found[collection]["teacher"]["decoder"] for found in (student, teacher))
        for name in ("stage_5", "edges"):
            for a, b in zip(ours[name].values(), theirs[name].values(), strict=True):
                for leaf in a:
                    np.testing.assert_array_equal(a[leaf], b[leaf])


def test_evaluation_says_what_a_loop_over_the_files_says(runs, data, capsys):
    """The confusion matrix from the door, against one from the predicted PNGs and the stored labels."""
    from tdepth_jax.data import classes
    from tdepth_jax.data.sources import open_split
    from tdepth_jax.metrics.segmentation import confusion

    out = runs / "labels"
    predict.main([f"{data}:test", f"--checkpoint={runs / 'student'}", "-o", str(out)])
    evaluate.main([f"--workdir={runs / 'student'}", "--pictures=1"])
    said = capsys.readouterr().out
    assert "protocol rtfnet" in said
    folder = runs / "student" / "eval" / "tiny-test"
    result = json.loads((folder / "metrics.json").read_text())
    assert result["classes"] == CLASSES
    source = classes.relabelled(open_split(data, "test"), CLASSES)
    total = np.zeros((9, 9), int)
    for i, row in enumerate(source.table):
        png = out / f"{row['sequence']}" / f"{int(row['index']):06d}_labels.png"
        total += confusion(np.asarray(Image.open(png)), source[i]["thermal/labels"], 9)
    assert result["confusion"] == total.tolist()
    (group,) = (g for g in result["protocols"][0]["groups"] if g["kind"] == "overall")
    assert group["metrics"]["acc/road"] == pytest.approx(total[1, 1] / total[1].sum(), rel=1e-5)
    page = (folder / "report.html").read_text()
    assert "Confusion" in page
    assert page.count("data:image/jpeg") == 4 * 3  # four panels of a worst, a typical and a best frame
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_teacher_is_scored_with_its_edges_and_refuses_bare_frames(runs, data, capsys):
    evaluate.main([f"--workdir={runs / 'teacher'}", "--protocol=present", "--pictures=0", "--max_images=2"])
    assert "edge IoU" in capsys.readouterr().out
    with pytest.raises(errors.UserError, match="give a student's run"):
        predict.main([f"{data}:test", f"--checkpoint={runs / 'teacher'}", "-o", str(runs / "refused")])
    assert not (runs / "refused").exists()


def test_a_folder_of_frames_becomes_labels_overlays_and_areas(runs, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(frames / f"{i}.png"), rng.integers(3000, 3400, (50 + i, 70)).astype(np.uint16))
    out = tmp_path / "out"
    predict.main([str(frames), f"--checkpoint={runs / 'student'}", "-o", str(out), "--batch-size=2"])
    assert "3 label maps" in capsys.readouterr().out
    meta = json.loads((out / "meta.json").read_text())
    assert [one["name"] for one in meta["classes"]] == CLASSES
    rows = list(csv.reader((out / "areas.csv").read_text().splitlines()))
    assert rows[0] == ["input", *CLASSES]
    for i, row in enumerate(rows[1:]):
        labels = np.asarray(Image.open(out / f"{i}_labels.png"))
        assert labels.shape == (50 + i, 70)
        shares = np.bincount(labels.ravel(), minlength=9) / labels.size
        np.testing.assert_allclose(np.array(row[1:], float), shares, atol=1e-6)
        assert cv2.imread(str(out / f"{i}_overlay.png")).shape == (50 + i, 70, 3)
        colour = np.array(Image.open(out / f"{i}_labels.png").convert("RGB"))[0, 0]
        assert colour.tolist() == meta["classes"][labels[0, 0]]["colour"]
    with pytest.raises(errors.UserError, match=r"labels pixels, so there is no 'ply'"):
        predict.main([str(frames), f"--checkpoint={runs / 'student'}", "-o", str(out), "--save=ply"])


def test_mistakes_are_one_sentence_and_leave_nothing(runs, data, tmp_path, capsys):
    def said(name, *more):
        sentences = sentence(argv(name, tmp_path / "refused", data, *more), capsys)
        assert not list(tmp_path.iterdir())
        return sentences

    assert "name the run with --init_from" in said("world_cekd_student", "--config.train.init_from=")
    assert "train it first" in said("world_cekd_student", f"--init_from={tmp_path / 'nowhere'}")
    wider = ("--config.model.teacher_width=8", "--config.model.width=8")
    assert "arrays of the teacher" in said("world_cekd_student", f"--init_from={runs / 'teacher'}", *wider)
    assert "did you mean 'road'" in said("world_cekd_teacher", "--config.system.classes=unlabeled,rood,sky")


def test_eight_bit_frames_are_warned_of_in_words_that_fit_labels(runs, tmp_path, capsys):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "grey.png"), rng.integers(0, 255, (50, 70)).astype(np.uint8))
    predict.main(
        [str(tmp_path / "grey.png"), f"--checkpoint={runs / 'student'}", "-o", str(tmp_path / "out")]
    )
    said = capsys.readouterr().err
    assert "it has 8 bits" in said
    assert "depth" not in said
