"""Table I of Fan et al.: depth on ViViD outdoor by night, beside the self-supervised methods before it.

python -m tdepth_jax.reproduce fan2024_table1
"""

import dataclasses

from configs.tables import _fan2024 as fan
from tdepth_jax.reproduction.spec import Row, Table


def night(*numbers: float) -> dict[str, dict[str, float]]:
    return {"night": dict(zip(fan.DEPTH, numbers, strict=True))}


def get_table() -> Table:
    ours = fan.ours(published=night(0.099, 0.741, 3.944, 0.144, 0.906), source="Table I")
    stage1 = ours.but(
        "stage1",
        "Fan 2024, stage 1",
        stages=1,
        published=night(0.121, 0.863, 4.407, 0.165, 0.872),
        source="Table I",
    )
    quoted = (
        ("bian", "Bian, SC-SfM (RGB)", (0.617, 9.971, 12.000, 0.595, 0.400), "Table I"),
        ("shin2021_t", "Shin 2021 (T)", (0.157, 1.179, 5.802, 0.211, 0.750), "README of ThermalSfMLearner-MS"),
        ("shin2021_ms", "Shin 2021 (RGB+T)", (0.146, 0.873, 4.697, 0.184, 0.801), "README of ThermalSfMLearner-MS"),
        ("shin2022", "Shin 2022 (T)", (0.109, 0.703, 4.132, 0.150, 0.887), "README of ThermalMonoDepth"),
    )  # fmt: skip
    rows = [Row(name=n, title=t, published=night(*v), source=s) for n, t, v, s in quoted]
    return Table(
        name="fan2024_table1",
        title="Fan et al. 2024, Table I: depth on ViViD outdoor by night",
        paper=fan.PAPER,
        scores=(fan.NIGHT,),
        rows=(*rows, stage1, ours),
        needs=fan.NEEDS,
        notes=(
            "The paper's Table I has the supervision of the two methods of Shin et al. swapped, and prints Bian et al. "
            "as SfM-Learner; the rows here are named as their authors name them.",
            *fan.NOT_STATED,
        ),
        world=fan.world(dataclasses.replace(fan.NIGHT, title="ThermalWorld, test")),
    )
