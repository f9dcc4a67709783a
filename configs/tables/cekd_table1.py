"""Table I of CEKD: where the teacher's edge detector looks, and where its map is added.

python -m tdepth_jax.reproduce cekd_table1
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Row, Table

METRICS = ("edge_iou", *cekd.MEANS)
POSITIONS = {
    "E123D3": (20.4, 69.1, 55.1),
    "E123D2": (11.4, 68.5, 54.8),
    "D234D2": (17.0, 71.2, 55.0),
    "E2D3": (16.0, 65.1, 54.1),
    "E1D2": (6.6, 68.4, 54.4),
    "D2D2": (19.4, 69.6, 55.3),
}


def get_table() -> Table:
    best = Row(
        name="D3D3",
        title="CENet, D3D3",
        stages=(cekd.BASELINE, cekd.TEACHER),
        published=cekd.percent(METRICS, 35.13, 71.8, 56.1),
        source="Table I",
    )
    none = Row(
        name="NED",
        title="no edge detector",
        stages=(cekd.BASELINE,),
        published=cekd.percent(METRICS, 0.0, 64.6, 54.0),
        source="Table I",
        note="The paper prints an edge IoU of 0 for a network that has no edge map; here it is left out.",
    )
    rows = [
        best.but(
            name, f"CENet, {name}", change={"model.edges": name}, since=2,
            published=cekd.percent(METRICS, *numbers), source="Table I",
        )
        for name, numbers in POSITIONS.items()
    ]  # fmt: skip
    return Table(
        name="cekd_table1",
        title="CEKD, Table I: the place of the edge detector in the teacher",
        paper=cekd.PAPER,
        scores=(cekd.test(*METRICS),),
        rows=(none, *rows, best),
        needs=cekd.NEEDS,
        notes=(
            *cekd.NOTES,
            "How several maps are joined (E123, D234) is not published: each has its detector, and a 1x1 convolution "
            "weighs their logits.",
            "How wide edges are drawn is not published but for 'one pixel'; --config.system.edge_width=two draws "
            "both sides.",
        ),
        world=cekd.world(*METRICS),
    )
