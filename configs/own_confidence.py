"""Your own RGB-thermal rig, without labels: the student of another run adapted to what your cameras see.

  python -m tdepth_jax.prepare own --raw THERMAL --fov-x 45 --rgb COLOUR --rgb-fov-x 60 --rgb-from-thermal pose.txt
  python -m tdepth_jax.train --config=configs/own_confidence.py --init_from=runs/ms2_confidence
  python -m tdepth_jax.predict data/own:test --checkpoint=runs/own_confidence -o depth --save=vis,png16,npz

The networks are those of the run that it starts from: change model.* here with it.
"""

from ml_collections import ConfigDict

from configs import vivid_confidence


def get_config() -> ConfigDict:
    c = vivid_confidence.get_config()
    c.data.update({"dataset": "data/own", "image_size": (256, 320)})
    c.train.update({"steps": 2000, "init_from": "runs/ms2_confidence"})
    return c
