"""ThermalWorld: an RGB teacher, a DPT head on a frozen DINOv2 ViT-S; the first of four runs.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.import_weights dinov2_vits14_pretrain.pth -o weights/dinov2_vits14
  python -m tdepth_jax.train --config=configs/world_confidence_teacher.py
  python -m tdepth_jax.train --config=configs/world_confidence_student.py
  python -m tdepth_jax.train --config=configs/world_confidence.py
  python -m tdepth_jax.train --config=configs/world_confidence_adapt.py

The publication trains teacher, student and confidence at once. One after the other is the same where nothing is
distilled with labels, and two CPU cores are done sooner. The student is small and will start from random weights.

What RGB teachers bring is that labelled RGB images are many and of all places, and labelled thermal ones are not: this
one learns from the split `rgb_train`, with the kind of place among others that is new to the student.
"""

from ml_collections import ConfigDict

from configs import world_vits_stage1

OFF = {f"{name}_weight": 0.0 for name in ("thermal", "spread", "distill", "likelihood")}


def get_config() -> ConfigDict:
    c = world_vits_stage1.get_config()
    network = {key: value for key, value in c.model.items() if not key.startswith("pose_")}
    teacher = {f"teacher_{key}": network[key] for key in (*world_vits_stage1.VITS, "output_gain")}
    teacher["teacher_weights"] = network.pop("backbone_weights")
    small = {"vit_dim": 128, "vit_depth": 4, "vit_heads": 4, "vit_pos_grid": 10, "output_gain": 1.0}
    c.model = ConfigDict(network | small | teacher)
    c.data.split = "rgb_train"
    c.model.confidence_widths = (8, 16, 32, 32, 32)
    c.system = ConfigDict({"name": "confidence", "train_rgb": "head", **OFF})
    # An error of a tenth of the depth is trusted by one half, one of a third by 15 %.
    c.system.update({"error": "log", "log_weight": 0.05, "least_confidence": 0.01})
    c.optimizer.update({"name": "adamw", "weight_decay": 0.01, "warmup_steps": 100})
    c.train = ConfigDict({"steps": 1500, "batch_size": 8, "save_every": 500, "keep": 1})
    c.eval = ConfigDict({"protocols": ("monother",)})
    return c
