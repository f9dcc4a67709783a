"""Your own RGB-thermal rig, without labels: the student of world_confidence in what your cameras see.

  python -m tdepth_jax.prepare own --raw THERMAL --fov-x 45 --rgb COLOUR --rgb-fov-x 60 --rgb-from-thermal pose.txt
  python -m tdepth_jax.train --config=configs/own_confidence.py
  python -m tdepth_jax.predict data/own:test --checkpoint=runs/own_confidence -o depth --save=vis,png16,npz

Small networks that know ThermalWorld only, for a laptop. What the publication trained takes a large GPU, and labels of
a data set like MS2 first: --config=configs/vivid_confidence.py --config.data.dataset=data/own.
"""

from ml_collections import ConfigDict

from configs import world_confidence_adapt


def get_config() -> ConfigDict:
    c = world_confidence_adapt.get_config()
    c.data.update({"dataset": "data/own", "split": "train"})
    c.eval.split = "test"
    return c
