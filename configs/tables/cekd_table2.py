"""CEKD's teacher and student by class.

python -m tdepth_jax.reproduce cekd_table2
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Row, Table

METRICS = cekd.by_class()
CENET = (
    92.0,
    85.8,
    78.9,
    70.0,
    74.9,
    61.4,
    64.8,
    46.8,
    39.8,
    29.3,
    65.7,
    8.7,
    54.1,
    47.8,
    77.1,
    56.9,
    71.8,
    56.1,
)
EKNET = (
    82.7,
    78.6,
    78.6,
    67.5,
    63.6,
    51.9,
    51.1,
    39.3,
    28.3,
    20.1,
    47.7,
    7.1,
    45.1,
    25.2,
    78.3,
    55.9,
    63.8,
    49.2,
)


def get_table() -> Table:
    teacher = Row(
        name="cenet",
        title="CENet (RGB-T)",
        stages=(cekd.BASELINE, cekd.TEACHER),
        published=cekd.percent(METRICS, *CENET),
        source="the paper's tables by class",
    )
    student = cekd.student(published=cekd.percent(METRICS, *EKNET), source="the paper's tables by class")
    quoted = (
        ("rtfnet", "RTFNet (RGB-T)", (62.2, 51.7)),
        ("rtfnet_t", "RTFNet (thermal)", (51.8, 44.2)),
    )
    rows = [
        Row(name=n, title=t, published=cekd.percent(cekd.MEANS, *v), source="the paper") for n, t, v in quoted
    ]
    return Table(
        name="cekd_table2",
        title="CEKD: teacher and student by class",
        paper=cekd.PAPER,
        scores=(cekd.test(*METRICS),),
        rows=(*rows, teacher, student),
        needs=cekd.NEEDS,
        notes=(*cekd.NOTES, cekd.NUMBERS),
        world=cekd.world(
            "acc/car", "iou/car", "acc/person", "iou/person", "acc/bike", "iou/bike", *cekd.MEANS
        ),
    )
