"""ZJU-4DRadarCam, XD-RCDepth's student trained directly: what the distilled one is compared with.

python -m tdepth_jax.train --config=configs/zju_xdrc_direct.py
"""

from ml_collections import ConfigDict

from configs import world_xdrc_direct, zju_xdrc_student


def get_config() -> ConfigDict:
    return world_xdrc_direct.direct(zju_xdrc_student.get_config())
