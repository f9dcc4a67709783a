"""MFNet, the student of CEKD (Feng et al., RA-L 2023): EKNet on thermal images alone, taught by CENet, without a label.

  python -m tdepth_jax.train --config=configs/mfnet_cekd_student.py
  python -m tdepth_jax.evaluate --workdir=runs/mfnet_cekd_student --protocol=rtfnet

Needs runs/mfnet_cekd_teacher (another run: --init_from=DIR). Published: mAcc 63.8, mIoU 49.2. Losses are chosen by
their weights, e.g. --config.system.hint_weight=0.
"""

from ml_collections import ConfigDict

from configs import mfnet_cekd_teacher


def get_config() -> ConfigDict:
    teacher = mfnet_cekd_teacher.get_config()
    c = ConfigDict({name: teacher[name] for name in ("data", "optimizer", "train", "eval")})
    c.model = ConfigDict(
        {"encoder_weights": teacher.model.encoder_weights, "teacher_edges": teacher.model.edges}
    )
    c.system = ConfigDict({"name": "cekd_student"})
    c.train.init_from = "runs/mfnet_cekd_teacher"
    return c
