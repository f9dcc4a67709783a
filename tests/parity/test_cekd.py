"""CENet and EKNet in full against the public code (the group `parity`).

  TDEPTH_CEKD_OUTPUTS=FOLDER python -m pytest -m parity tests/parity/test_cekd.py -s

FOLDER is what `make_cekd.py --full FOLDER` wrote (torch and a checkout of lab-sun/CEKD); skipped where it is not given.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

import jax
import models_cekd as cekd
import numpy as np
import pytest

from tdepth_jax.models.segmentation import SegConfig, SegNet

pytestmark = pytest.mark.parity
CENET = SegConfig(relu_logits=True, dtype="float32")
EKNET = dataclasses.replace(CENET, rgb=False, edges="none", enhancement=True, enhancement_exponent="raw")


@pytest.mark.parametrize(("name", "config"), [("teacher", CENET), ("student", EKNET)])
def test_every_output_at_full_size(name, config):
    if "TDEPTH_CEKD_OUTPUTS" not in os.environ:
        pytest.skip("needs TDEPTH_CEKD_OUTPUTS")
    variables, stored = cekd.load(pathlib.Path(os.environ["TDEPTH_CEKD_OUTPUTS"]) / f"{name}.npz")
    image = cekd.pair()
    found = jax.jit(SegNet(config, 9).apply)(
        variables, image[..., 3:], image[..., :3] if config.rgb else None
    )
    ours = {
        "deepest": found["maps"][4][..., ::64],
        "logits": found["logits"][:, ::40, ::40],
        "hint": found["hint"][:, ::15, ::15, ::16],
    }
    for key, theirs in stored.items():
        assert theirs.std() > 1e-3
        error = np.abs(np.asarray(ours[key]) - theirs).max() / np.abs(theirs).max()
        print(f"{name} {key}: {error:.1e} of the largest")
        assert error < 1e-4
