"""ZJU-4DRadarCam, XD-RCDepth (Sun et al., arXiv 2510.13565): the light student, taught by zju_xdrc_teacher.

  python -m tdepth_jax.import_weights mobilenet_v2.pth -o weights/mobilenet_v2
  python -m tdepth_jax.train --config=configs/zju_xdrc_student.py
  python -m tdepth_jax.evaluate --workdir=runs/zju_xdrc_student --protocol=radarcam50,radarcam70,radarcam80

Needs runs/zju_xdrc_teacher (another run: --init_from=DIR). Published (as RbFT-Net's paper quotes it), 80 m: MAE
1.275 m, RMSE 3.341 m, iMAE 11.7 1/km, iRMSE 24.5 1/km, Abs Rel 0.095, delta 0.889.
"""

from ml_collections import ConfigDict

from configs import zju_xdrc_teacher


def get_config() -> ConfigDict:
    c = zju_xdrc_teacher.get_config()
    c.system.trains = "student"
    c.model = ConfigDict({"encoder_weights": "weights/mobilenet_v2"})  # of ImageNet, as LiRCDepth's
    c.optimizer.learning_rate = 5e-5
    c.train.update({"steps": 80_000, "batch_size": 6, "init_from": "runs/zju_xdrc_teacher"})
    return c
