"""Table IV of Fan et al.: what each part of the method does, on ViViD outdoor by night.

python -m tdepth_jax.reproduce fan2024_table4
"""

import dataclasses

from configs.tables import _fan2024 as fan
from tdepth_jax.reproduction.spec import Score, Table

NIGHT = dataclasses.replace(fan.NIGHT, metrics=fan.ORDERED)
WORLD = (
    dataclasses.replace(NIGHT, title="ThermalWorld, test"),
    Score(
        name="new_scene",
        title=fan.NEW_SCENE,
        metrics=fan.ORDERED,
        protocol="fan2024",
        splits=("new_scene",),
    ),
)


def night(*numbers: float) -> dict:
    return {
        "published": {"night": dict(zip(fan.ORDERED, numbers, strict=True))},
        "source": "Table IV",
    }


def get_table() -> Table:
    ours = fan.ours(**night(3.944, 0.144, 0.099, 0.741) | {"source": "Table I"})
    no_adapters = ours.but(
        "no_adapters",
        "w/o adapters",
        change={"model.lora_rank": "0", "model.conv_adapter_width": "0"},
        since=2,
        note="Stage 2 goes on with head and pose network alone, on temporally mapped images.",
        **night(4.023, 0.147, 0.103, 0.849),
    )
    full = no_adapters.but(
        "full_fine_tuning",
        "full fine-tuning",
        change={"system.train_backbone": "true"},
        since=2,
        note="The whole backbone is trained in stage 2, without adapters; whether the paper kept them is not stated.",
        **night(4.980, 0.199, 0.153, 1.041),
    )
    frozen = ours.but(
        "no_pretraining_frozen",
        "w/o pre-training, backbone frozen",
        change={"model.backbone_weights": ""},
        note="The other reading of the published row: random features, never trained.",
        extra=True,
    )
    no_pretraining = frozen.but(
        "no_pretraining",
        "w/o pre-training",
        change={"system.train_backbone": "true"},
        note="A random backbone of the same size, trained with the rest in both stages: the useful control, since "
        "features that are random and frozen can tell nothing. Which of the two was published is not stated; "
        "no_pretraining_frozen is the other.",
        **night(9.279, 0.473, 0.465, 5.455),
    )
    no_stage_two = ours.but("no_stage_two", "w/o stage two", stages=1, **night(4.407, 0.165, 0.121, 0.863))
    return Table(
        name="fan2024_table4",
        title="Fan et al. 2024, Table IV: ablations on ViViD outdoor by night",
        paper=fan.PAPER,
        scores=(NIGHT,),
        rows=(frozen, no_pretraining, no_stage_two, no_adapters, full, ours),
        needs=fan.NEEDS,
        notes=fan.NOT_STATED,
        world=fan.world(*WORLD),
    )
