"""CEKD's temperature of the softened cross-entropy; the paper gives a curve, whose best is 6.

python -m tdepth_jax.reproduce cekd_table6
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Table

TRIED = (1, *range(2, 35, 2))


def get_table() -> Table:
    best = cekd.student(
        "t6", "T = 6", published=cekd.percent(cekd.MEANS, 63.8, 49.2), source="the main results"
    )
    rows = [
        best.but(f"t{t}", f"T = {t}", change={"system.temperature": str(float(t))}, since=3, extra=t > 10)
        for t in TRIED
        if t != 6
    ]
    return Table(
        name="cekd_table6",
        title="CEKD: temperature",
        paper=cekd.PAPER,
        scores=(cekd.test(*cekd.MEANS),),
        rows=(best, *rows),
        needs=cekd.NEEDS,
        notes=(*cekd.NOTES, cekd.NUMBERS, "Beyond T = 10 rows run only where --only names them."),
        world=cekd.world(*cekd.MEANS),
    )
