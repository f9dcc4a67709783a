"""nuScenes, XD-RCDepth's teacher: a radar-camera network of CaFNet's kind and size, on accumulated LiDAR depth.

  python -m tdepth_jax.prepare nuscenes --raw=DIR
  python -m tdepth_jax.import_weights resnet34.pth -o weights/resnet34
  python -m tdepth_jax.import_weights resnet18.pth -o weights/resnet18
  python -m tdepth_jax.train --config=configs/nuscenes_xdrc_teacher.py
  python -m tdepth_jax.evaluate --workdir=runs/nuscenes_xdrc_teacher --split=test --protocol=xdrc80

Published of CaFNet (its public code): AdamW 1e-4 falling to 1e-5, weight decay 1e-4, batches of 8, 200 epochs of
27,430 frames, crops of 352 x 704 pixels of images of 896 x 1600; the encoders start from ImageNet. Here the whole image
is brought to that size. MAE of the public checkpoint: 2.09 m at 80 m, on the val list.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/nuscenes", "image_size": (352, 704), "workers": 8})
    c.model = ConfigDict(
        {"teacher_image_weights": "weights/resnet34", "teacher_radar_weights": "weights/resnet18"}
    )
    c.system = ConfigDict({"name": "xdrc", "trains": "teacher"})
    c.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 1e-4,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "end_factor": 0.1,
        }
    )
    c.train = ConfigDict({"steps": 200 * 27_430 // 8, "batch_size": 8, "save_every": 2000})
    c.eval = ConfigDict({"split": "val", "protocols": ("xdrc80",), "every": 20_000, "stride": 10})
    return c
