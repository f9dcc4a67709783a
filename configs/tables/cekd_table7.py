"""Table VII of CEKD: the thermal enhancement, without it (KDNet) and by its coefficient, whose best is 2.

python -m tdepth_jax.reproduce cekd_table7
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Table


def get_table() -> Table:
    best = cekd.student(
        "lambda2", "EKNet, λ = 2", published=cekd.percent(cekd.MEANS, 63.8, 49.2), source="Table VII"
    )
    off = best.but(
        "kdnet", "KDNet (no enhancement)", change={"model.enhancement": "false"}, since=3,
        published=cekd.percent(cekd.MEANS, 61.2, 48.5), source="Table VII",
    )  # fmt: skip
    rows = [
        best.but(
            f"lambda{n}", f"EKNet, λ = {n}", change={"model.enhancement_coefficient": str(float(n))}, since=3
        )
        for n in (0, 1, 3, 4, 5, 6)
    ]
    return Table(
        name="cekd_table7",
        title="CEKD, Table VII: the thermal enhancement",
        paper=cekd.PAPER,
        scores=(cekd.test(*cekd.MEANS),),
        rows=(off, *rows, best),
        needs=cekd.NEEDS,
        notes=cekd.NOTES,
        world=cekd.world(*cekd.MEANS),
    )
