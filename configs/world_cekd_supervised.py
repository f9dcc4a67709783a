"""ThermalWorld, CEKD's student network on true labels: what the distilled one is compared with.

python -m tdepth_jax.train --config=configs/world_cekd_supervised.py
"""

from ml_collections import ConfigDict

from configs import mfnet_cekd_supervised, world_cekd_student


def get_config() -> ConfigDict:
    return mfnet_cekd_supervised.supervised(world_cekd_student.get_config())
