"""How well self-supervised runs explain a video that they did not train on: its photometric error, alike for all.

  python benchmarks/video_photometric.py data/own:test runs/own_vits_stage1 runs/own_vits_stage2

Each row is (1 - a) |I - I'| + a (1 - SSIM)/2 (a = 0.85, standardised images, no auto-mask), the mean over the pixels in
view and over a snippet's four pairs, without augmentation: of the neighbours as they are; warped by the run's depth and
the motion of its pose network; and warped after that motion was aligned to the images by the same depth, which tells
how good the depth alone is. A video has no ground truth: a smaller error is a hint, not a measure of depth.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp

from tdepth_jax import systems
from tdepth_jax.data import pipeline, sources
from tdepth_jax.errors import UserError
from tdepth_jax.losses import reprojection
from tdepth_jax.thermal import normalize
from tdepth_jax.training import evaluator
from tdepth_jax.training.restore import Run, load_run

ALIKE = {"auto_mask": "off", "loss_images": "network", "detach_weight": True, "loss_scale": "standard"}


def errors(run: Run, source: sources.FrameSource) -> tuple[float, float, float]:
    """(as they are, by the pose network, aligned)."""
    found = []
    for steps in (None, 0, 10):
        config = run.config.copy_and_resolve_references()
        config.system.update(ALIKE | {"pose_alignment": steps or 0})
        system = systems.make(config)
        mutable = {name: tree for name, tree in run.variables.items() if name != "params"}
        update = system.updates[0].loss

        @jax.jit
        def terms(batch, steps=steps, update=update, mutable=mutable):
            if steps is None:
                return standing(batch)
            return update(run.variables["params"], mutable, batch, None, jax.random.key(0))[0]

        with pipeline.train_iterator(
            source,
            keys=system.needs | (system.wants & source.features),
            offsets=system.offsets,
            image_size=tuple(run.config.data.image_size),
            batch_size=1,
            seed=0,
            augment=pipeline.Augment(flip=False, scale_crop=1.0),
        ) as batches:
            count = len(source.snippet_centres(system.offsets))
            some = [next(batches) for _ in range(count)]
        found.append(evaluator.self_scores(terms, some)["photometric"] / len(reprojection.PAIRS))
    return tuple(found)


def standing(batch):
    """The terms of frames compared as they are."""
    valid = batch.get("thermal/valid")
    images = normalize.standardize(
        normalize.normalize(
            batch["thermal/image"], method="snippet", valid=None if valid is None else valid[:, None]
        )
    )
    usable = None if valid is None else jnp.repeat(valid[:, None], images.shape[1], axis=1)
    still = jnp.broadcast_to(jnp.eye(4), (len(reprojection.PAIRS), len(images), 4, 4))
    views = reprojection.pair_views(
        images, jnp.ones_like(images), still, batch["thermal/K"], usable, padding="zeros"
    )
    return reprojection.pair_terms(
        views, alpha=0.85, auto_mask="off", detach_weight=True, least_valid=0.03, minimum=False
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", metavar="DATASET:SPLIT")
    parser.add_argument("runs", nargs="+")
    flags = parser.parse_args()
    dataset, _, split = flags.video.partition(":")
    print("| run | as they are | warped, pose network | warped, aligned |\n|---|---|---|---|")
    for workdir in flags.runs:
        try:
            still, own, aligned = errors(load_run(workdir), sources.open_split(dataset, split or "test"))
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        print(f"| {workdir} | {still:.4f} | {own:.4f} | {aligned:.4f} |", flush=True)
