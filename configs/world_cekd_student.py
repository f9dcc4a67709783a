"""ThermalWorld, CEKD's student: thermal images alone, taught by world_cekd_teacher, at a size for two CPU cores.

python -m tdepth_jax.train --config=configs/world_cekd_student.py
"""

from ml_collections import ConfigDict

from configs import world_cekd_teacher


def get_config() -> ConfigDict:
    teacher = world_cekd_teacher.get_config()
    c = ConfigDict({name: teacher[name] for name in ("data", "optimizer", "train")})
    shared = ("encoder", "width", "attention_heads", "attention_width")
    c.model = ConfigDict({name: teacher.model[name] for name in (*shared, "position_size")})
    c.model.update({f"teacher_{name}": teacher.model[name] for name in (*shared, "edges")})
    c.system = teacher.system
    c.system.name = "cekd_student"
    c.train.init_from = "runs/world_cekd_teacher"
    return c
