"""Your own thermal video with a real backbone, stage 1: head and pose net on a frozen DINOv2 ViT-S.

  python -m tdepth_jax.prepare own --raw FOLDER --fov-x 90 --name own
  python -m tdepth_jax.import_weights dinov2_vits14_pretrain.pth -o weights/dinov2_vits14
  python -m tdepth_jax.train --config=configs/own_vits_stage1.py
  python -m tdepth_jax.train --config=configs/own_vits_stage2.py
  python -m tdepth_jax.predict data/own:test --checkpoint=runs/own_vits_stage2 -o depth --save=vis,png16,npz,ply

Small images, for a laptop's CPU; on a GPU: --config.data.image_size=252,322 --config.train.batch_size=4, more steps.
"""

from ml_collections import ConfigDict

from configs import world_vits_stage1


def get_config() -> ConfigDict:
    c = world_vits_stage1.get_config()
    c.data.dataset = "data/own"
    c.train.steps = 400
    return c
