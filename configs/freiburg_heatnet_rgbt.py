"""Freiburg Thermal, HeatNet (Vertens et al., IROS 2020): RGB and thermal images by day and night, no label by night.

  python -m tdepth_jax.train --config=configs/freiburg_heatnet_mn.py
  python -m tdepth_jax.train --config=configs/freiburg_heatnet_rgbt.py
  python -m tdepth_jax.evaluate --workdir=runs/freiburg_heatnet_rgbt --protocol=heatnet

Published: mIoU 64.9 (day and night combined). Labels by day are the released ones, which the authors' RGB teacher said.
The authors train for 200 epochs of 501 turns, every second the network's, on 8 images; here as many turns of either,
both on one batch (apart: --config.system.turns=1,1,1 and twice the steps), and the learning rate falls smoothly to
where their halvings end. Their crops, rotations and faded thermal images are not drawn: images are mirrored at random.
"""

from ml_collections import ConfigDict

EPOCH = 501  # steps
EPOCHS = 100


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/freiburg", "image_size": (320, 704), "scale_crop": 1.0})
    c.model = ConfigDict({"encoder": "resnet50"})
    c.system = ConfigDict({"name": "heatnet", "trains": "rgbt", "labels": "data", "confusion_weight": 0.01})
    c.optimizer = ConfigDict(
        {
            "name": "rmsprop",
            "learning_rate": 1e-4,
            "b2": 0.99,
            "schedule": "exponential",
            "end_factor": 0.5 ** (200 / 60),
        }
    )
    c.train = ConfigDict({"steps": EPOCHS * EPOCH, "batch_size": 8, "save_every": 2 * EPOCH})
    c.train.init_from = "runs/freiburg_heatnet_mn"
    c.eval = ConfigDict({"split": "test", "batch_size": 4})
    return c
