"""nuScenes, XD-RCDepth (Sun et al., arXiv 2510.13565): the light student, taught by nuscenes_xdrc_teacher.

  python -m tdepth_jax.import_weights mobilenet_v2.pth -o weights/mobilenet_v2
  python -m tdepth_jax.train --config=configs/nuscenes_xdrc_student.py
  python -m tdepth_jax.evaluate --workdir=runs/nuscenes_xdrc_student --split=test --protocol=xdrc50,xdrc70,xdrc80

Needs runs/nuscenes_xdrc_teacher (another run: --init_from=DIR). Published: MAE 7.97 % below direct training; absolute
figures on nuScenes are not in our sources. The learning rate and batch size are LiRCDepth's.
"""

from ml_collections import ConfigDict

from configs import nuscenes_xdrc_teacher


def get_config() -> ConfigDict:
    c = nuscenes_xdrc_teacher.get_config()
    c.system.trains = "student"
    c.model = ConfigDict({"encoder_weights": "weights/mobilenet_v2"})  # of ImageNet, as LiRCDepth's
    c.optimizer.learning_rate = 5e-5
    c.train.update({"steps": 200 * 27_430 // 6, "batch_size": 6, "init_from": "runs/nuscenes_xdrc_teacher"})
    return c
