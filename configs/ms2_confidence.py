"""MS2: RGB teacher, thermal student and confidence with labels (MonoTher-Depth, Zuo et al., RA-L 2025).

  python -m tdepth_jax.prepare ms2 --raw=MS2
  python -m tdepth_jax.import_weights depth_anything_vitl14.pth -o weights/depth_anything_vitl14
  python -m tdepth_jax.train --config=configs/ms2_confidence.py

Two ViT-L with metric bins: 40 GB of GPU memory, as the released code needs. Labels are the official ones unless the
refined ones were prepared (data/ms2.md). Published, thermal, over day, night and rain: Abs Rel 0.072, RMSE 2.677.
"""

from ml_collections import ConfigDict

EPOCH = 7600  # training pairs, as the release counts them; which frames it leaves out is not stated


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/ms2", "image_size": (256, 640), "flip": False, "scale_crop": 1.0})
    c.model = ConfigDict(
        {
            "backbone": "vitl",
            "head": "depth_anything_v1",
            "output": "metric_bins",
            "min_depth": 1e-3,
            "max_depth": 80.0,
            "backbone_weights": "weights/depth_anything_vitl14",
        }
    )
    c.system = ConfigDict({"name": "confidence", "backbone_rate": 0.02})
    c.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 8.5e-5,
            "weight_decay": 0.01,
            "schedule": "onecycle",
            "start_factor": 1.0,
            "peak_at": 0.7,
            "end_factor": 1e-4,
            "clip_norm": 0.1,
        }
    )
    c.train = ConfigDict({"steps": 5 * EPOCH // 4, "batch_size": 4, "save_every": 2000})
    c.eval = ConfigDict({"split": "val", "stride": 3, "protocols": ("monother",)})
    return c
