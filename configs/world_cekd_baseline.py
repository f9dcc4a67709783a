"""ThermalWorld, CEKD's teacher without its edges, at a size for two CPU cores.

python -m tdepth_jax.prepare world
python -m tdepth_jax.train --config=configs/world_cekd_baseline.py
"""

from ml_collections import ConfigDict

from configs import world_cekd_teacher


def get_config() -> ConfigDict:
    c = world_cekd_teacher.get_config()
    c.model.edges = "none"
    c.train.init_from = None
    return c
