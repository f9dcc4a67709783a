"""nuScenes, XD-RCDepth's student trained directly: what the distilled one is compared with.

python -m tdepth_jax.train --config=configs/nuscenes_xdrc_direct.py
"""

from ml_collections import ConfigDict

from configs import nuscenes_xdrc_student, world_xdrc_direct


def get_config() -> ConfigDict:
    return world_xdrc_direct.direct(nuscenes_xdrc_student.get_config())
