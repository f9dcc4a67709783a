"""MFNet, the teacher of CEKD (Feng et al., RA-L 2023): CENet on RGB-thermal pairs, from the weights without edges.

  python -m tdepth_jax.train --config=configs/mfnet_cekd_baseline.py
  python -m tdepth_jax.train --config=configs/mfnet_cekd_teacher.py
  python -m tdepth_jax.evaluate --workdir=runs/mfnet_cekd_teacher --protocol=rtfnet

Published: mAcc 71.8, mIoU 56.1, edge IoU 35.13. The authors stopped by hand, we stop at the code's 200 epochs, and they
chose the best of all epochs on the test split, which is not done here.
"""

from ml_collections import ConfigDict

EPOCHS = 200
EPOCH = 784 // 2  # steps


def get_config() -> ConfigDict:
    c = ConfigDict()
    # Mirrored copies are part of the authors' training list; cropping is in their code and never reached.
    c.data = ConfigDict({"dataset": "data/mfnet", "image_size": (480, 640), "scale_crop": 1.0})
    c.model = ConfigDict({"edges": "D3D3", "encoder_weights": "weights/resnet50"})
    c.system = ConfigDict({"name": "cekd_teacher"})
    c.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.01,
            "b1": 0.9,
            "weight_decay": 5e-4,
            "schedule": "exponential",  # 0.95 every epoch
            "end_factor": 0.95**EPOCHS,
        }
    )
    c.train = ConfigDict({"steps": EPOCHS * EPOCH, "batch_size": 2, "save_every": 2 * EPOCH})
    c.train.init_from = "runs/mfnet_cekd_baseline"
    c.eval = ConfigDict({"split": "test", "batch_size": 2})
    return c
