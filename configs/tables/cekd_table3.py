"""CEKD's teacher and student by day and by night.

python -m tdepth_jax.reproduce cekd_table3
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Row, Table

METRICS = ("macc/day", "miou/day", "macc/night", "miou/night")


def get_table() -> Table:
    teacher = Row(
        name="cenet",
        title="CENet (RGB-T)",
        stages=(cekd.BASELINE, cekd.TEACHER),
        published=cekd.percent(METRICS, 61.5, 48.0, 68.8, 56.1),
        source="the paper's table by day and night",
    )
    student = cekd.student(
        published=cekd.percent(METRICS, 51.5, 40.0, 62.3, 50.6), source="the paper's table by day and night"
    )
    return Table(
        name="cekd_table3",
        title="CEKD: by day and by night",
        paper=cekd.PAPER,
        scores=(cekd.test(*METRICS),),
        rows=(teacher, student),
        needs=cekd.NEEDS,
        notes=(*cekd.NOTES, cekd.NUMBERS),
        world=cekd.world(*METRICS),
    )
