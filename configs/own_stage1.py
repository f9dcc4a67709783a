"""Your own thermal video: self-supervised depth from the frames that `prepare own` made into records.

  python -m tdepth_jax.prepare own --raw FOLDER --fov-x 90 --mask-bottom 0.17 --name own
  python -m tdepth_jax.train --config=configs/own_stage1.py --config.data.dataset=data/own
  python -m tdepth_jax.predict data/own:test --checkpoint=runs/own_stage1 -o depth --save=vis,png16,npz,ply

Sized for a laptop, with the networks of `world_stage1`; --init_from=runs/world_stage1 starts from its weights.
"""

from ml_collections import ConfigDict

from configs import world_stage1


def get_config() -> ConfigDict:
    c = world_stage1.get_config()
    c.data.dataset = "data/own"
    return c
