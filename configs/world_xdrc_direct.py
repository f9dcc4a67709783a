"""ThermalWorld, XD-RCDepth's student trained directly: what the distilled one is compared with.

python -m tdepth_jax.train --config=configs/world_xdrc_direct.py
"""

from ml_collections import ConfigDict

from configs import world_xdrc_student


def get_config() -> ConfigDict:
    return direct(world_xdrc_student.get_config())


def direct(c: ConfigDict) -> ConfigDict:
    """A student's config without its teacher; the same network, steps and images."""
    c.system.update({"saliency_weight": 0.0, "distribution_weight": 0.0})
    c.train.init_from = None
    return c
