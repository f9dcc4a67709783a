"""ThermalWorld: self-supervised depth from thermal video alone, at a size for two CPU cores.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.train --config=configs/world_stage1.py

No weights are imported, so there is nothing to freeze: the small ViT is trained with the head and the pose net.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/world", "image_size": (64, 80), "scale_crop": 1.0})
    c.model = ConfigDict(
        {
            "backbone": "custom",
            "vit_dim": 128,
            "vit_depth": 4,
            "vit_heads": 4,
            "vit_patch": 8,
            "vit_pos_grid": 10,
            "dpt_channels": (32, 64, 96, 128),
            "dpt_features": 32,
            "dpt_stride": 2,
            "output_offset": -2.0,
            "pose_widths": (16, 32, 64, 64, 128),
            "pose_scale": 0.1,
            "pose_view": "gradients",
        }
    )
    # Without pre-training and with minutes instead of days, poses have to be found at once: three Gauss-Newton steps
    # do that, and a smoothness weight that leaves small things standing.
    c.system = ConfigDict(
        {
            "name": "selfsup",
            "train_backbone": True,
            "loss_depth": "batch",
            "pose_alignment": 3,
            "smoothness_weight": 0.02,
        }
    )
    c.optimizer = ConfigDict(
        {"learning_rate": 5e-4, "schedule": "cosine", "warmup_steps": 100, "clip_norm": 1.0}
    )
    c.train = ConfigDict({"steps": 2000, "batch_size": 4, "save_every": 500})
    return c
