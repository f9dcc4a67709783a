"""CEKD's student by what it is taught with: true labels, a thermal-only teacher, the RGB-thermal teacher.

python -m tdepth_jax.reproduce cekd_table5
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Row, Table

SOURCE = "the comparison of strategies"


def get_table() -> Table:
    taught = cekd.student(
        "rgbt_teacher", "RGB-T teacher", published=cekd.percent(cekd.MEANS, 63.8, 49.2), source=SOURCE
    )
    alone = {"model.rgb": "false"}
    thermal = Row(
        name="t_teacher",
        title="thermal-only teacher",
        stages=(
            cekd.with_(cekd.BASELINE, alone),
            cekd.with_(cekd.TEACHER, alone),
            cekd.with_(cekd.STUDENT, {"model.teacher_rgb": "false"}),
        ),
        published=cekd.percent(cekd.MEANS, 57.5, 46.4),
        source=SOURCE,
    )
    supervised = Row(
        name="supervised",
        title="no teacher, true labels",
        stages=(cekd.SUPERVISED,),
        published=cekd.percent(cekd.MEANS, 60.6, 48.2),
        source=SOURCE,
    )
    return Table(
        name="cekd_table5",
        title="CEKD: the student by what teaches it",
        paper=cekd.PAPER,
        scores=(cekd.test(*cekd.MEANS),),
        rows=(supervised, thermal, taught),
        needs=cekd.NEEDS,
        notes=(*cekd.NOTES, cekd.NUMBERS),
        world=cekd.world(*cekd.MEANS),
    )
