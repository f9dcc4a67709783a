"""Outputs of CEKD's published networks with known weights: small modules for the tests, both networks in full.

Needs torch, torchvision, einops and a checkout of lab-sun/CEKD (not needed by the tests themselves):

  python tests/parity/make_cekd.py --cekd PATH                 # writes tests/models/golden/cekd_*.npz
  python tests/parity/make_cekd.py --cekd PATH --full FOLDER   # writes FOLDER/{teacher,student}.npz, for test_cekd.py

and, with torch alone, a checkout of clovaai/attention-feature-distillation:

  python tests/parity/make_cekd.py --afd PATH                  # writes tests/models/golden/cekd_attended.npz
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import types
import unittest.mock

import models_cekd as cekd
import numpy as np
import torch
from make_golden import fill, golden


def nchw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(0, 3, 1, 2).contiguous()


def nhwc(x: torch.Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


@torch.inference_mode()
def modules(teacher, student, losses) -> None:
    sizes = {"dim": 16, "dim_out": 32, "fmap_size": (6, 8), "proj_factor": 4, "num_layers": 3, "heads": 2}
    stack = teacher.BottleStack(**sizes, dim_head=4)
    up = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(16, 8, 2, stride=2, bias=False), torch.nn.BatchNorm2d(8)
    )
    stage = torch.nn.Sequential(teacher.TransBottleneck(16, 16), teacher.TransBottleneck(16, 8, 2, up))
    edges = teacher.newEdgeSeg(16)
    mask = student.createMask(enlightening=2)
    for name, model, size in (
        ("attention", stack, (6, 8, 16)), ("decoder", stage, (6, 8, 16)), ("edges", edges, (24, 30, 16)),
        ("enhancement", mask, (480, 640, 1)),
    ):  # fmt: skip
        spec = fill(model)
        found = model(nchw(cekd.features(size)))
        found = [one[..., ::7, ::7] for one in found] if name == "enhancement" else [found]
        cekd.save(name, spec, {f"out_{i}": nhwc(x) for i, x in enumerate(found)})
    a, b = (nchw(cekd.features((6, 8, 5), seed)) for seed in (1, 2))
    np.savez(
        golden.FOLDER / "cekd_losses.npz",
        similarity=losses.sim_dis_compute(a, b).numpy(), distillation=losses.kd_ce_loss(a, b, 6).numpy(),
        hint=torch.nn.functional.mse_loss(a, b).numpy(),
    )  # fmt: skip


def edge_loss(edge_losses) -> None:
    """Value and gradient of the published edge loss, of a map that is (as published) and is not a sigmoid's."""
    logits = nchw(cekd.features((6, 8, 1), 3)).requires_grad_()
    labels = torch.from_numpy(cekd.edge_labels())
    found = {}
    for name, x in (("logits", logits), ("published", torch.sigmoid(logits))):
        value = edge_losses.EdgeLoss().auto_weight_bce(x, labels)
        (gradient,) = torch.autograd.grad(value, logits)
        found |= {name: value.detach().numpy(), f"{name}_gradient": nhwc(gradient)}
    np.savez(golden.FOLDER / "cekd_edge_loss.npz", **found)


@torch.inference_mode()
def full(teacher, student, folder: pathlib.Path) -> None:
    """Both networks at 480 x 640; every 40th pixel of the logits, every 15th of the features, some channels."""
    import torchvision

    raw = torchvision.models.resnet50
    image = nchw(cekd.pair())
    with unittest.mock.patch.object(
        torchvision.models, "resnet50", side_effect=lambda **_: raw(weights=None)
    ):
        nets = {"teacher": teacher.Teacher_model(9), "student": student.Student_model(9)}
    for name, model in nets.items():
        spec = fill(model)
        deepest, logits, hint = model(image if name == "teacher" else image[:, 3:])
        outputs = {"deepest": nhwc(deepest)[..., ::64], "logits": nhwc(logits)[:, ::40, ::40]}
        outputs["hint"] = nhwc(hint)[:, ::15, ::15, ::16]
        cekd.save(name, spec, outputs, folder=folder)


def attended(afd) -> None:
    """AFD's loss and its gradient to the student's maps, in training: its batch norms go by the batch."""
    ours, theirs = cekd.attended()
    shapes = [[torch.Size(np.moveaxis(x, -1, 1).shape) for x in maps] for maps in (ours, theirs)]
    sizes = list(dict.fromkeys((s[2], s[3]) for s in shapes[1]))
    arguments = {
        "guide_layers": range(len(theirs)), "hint_layers": range(len(ours)), "qk_dim": 4, "s_shapes": shapes[0],
        "t_shapes": shapes[1], "n_t": [sizes.index((s[2], s[3])) for s in shapes[1]],
        "unique_t_shapes": [next(s for s in shapes[1] if (s[2], s[3]) == size) for size in sizes],
    }  # fmt: skip
    model = afd(types.SimpleNamespace(**arguments))
    with torch.no_grad():
        spec = fill(model)
    model.train()
    student, teacher = ([nchw(x) for x in maps] for maps in (ours, theirs))
    student = [x.requires_grad_() for x in student]
    value = model(student, teacher)
    gradients = torch.autograd.grad(value, student)
    found = {f"gradient_{i}": nhwc(x) for i, x in enumerate(gradients)}
    cekd.save("attended", spec, {"value": value.detach().numpy(), **found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cekd")
    parser.add_argument("--full", type=pathlib.Path)
    parser.add_argument("--afd")
    flags = parser.parse_args()
    if flags.afd:
        sys.path[:0] = [flags.afd]
        from distill import AFD

        attended(AFD)
    if flags.cekd:
        sys.path[:0] = [flags.cekd]
        from TSmodel import Student_model, Teacher_model
        from util import EdgeLoss, util

        if flags.full:
            full(Teacher_model, Student_model, flags.full)
        else:
            modules(Teacher_model, Student_model, util)
            edge_loss(EdgeLoss)
