"""CEKD's losses, one by one and together, and two others in place of the edge feature; supervised and teacher beside.

python -m tdepth_jax.reproduce cekd_table4
python -m tdepth_jax.reproduce cekd_table4 --world --seeds=3 --only=supervised,seg,seg_kdce,seg_sim,seg_e,all,teacher
"""

from configs.tables import _cekd as cekd
from tdepth_jax.reproduction.spec import Row, Table

ALONE = {"soft": "0", "similarity": "0", "hint": "0"}
# What a row has beside the labels' cross-entropy; "0" switches a loss off.
ROWS = (
    ("seg", "L_seg", {}, (59.5, 46.5)),
    ("seg_kdce", "L_seg + L_kdce", {"soft": "1"}, (62.4, 48.1)),
    ("seg_sim", "L_seg + L_sim", {"similarity": "1"}, (60.2, 47.1)),
    ("seg_e", "L_seg + L_e", {"hint": "1"}, (61.3, 47.9)),
    ("seg_kdce_sim", "L_seg + L_kdce + L_sim", {"soft": "1", "similarity": "1"}, (63.0, 48.5)),
    ("seg_kdce_e", "L_seg + L_kdce + L_e", {"soft": "1", "hint": "1"}, (63.5, 48.8)),
    ("afd", "AFD in place of L_e", {"soft": "1", "similarity": "1", "attended": "200"}, (62.3, 49.1)),
    ("pad", "PAD in place of L_e", {"soft": "1", "similarity": "1", "uncertain": "1"}, (63.3, 48.4)),
)


def get_table() -> Table:
    every = cekd.student(
        "all", "all losses", published=cekd.percent(cekd.MEANS, 63.8, 49.2), source="the ablation of losses"
    )
    rows = [
        every.but(
            name, title, change={f"system.{k}_weight": v for k, v in (ALONE | weights).items()}, since=3,
            published=cekd.percent(cekd.MEANS, *numbers), source="the ablation of losses",
        )
        for name, title, weights, numbers in ROWS
    ]  # fmt: skip
    supervised = Row(
        name="supervised",
        title="no teacher, true labels",
        stages=(cekd.SUPERVISED,),
        published=cekd.percent(cekd.MEANS, 60.6, 48.2),
        source="the comparison of strategies",
    )
    teacher = Row(
        name="teacher",
        title="the teacher (RGB-T)",
        stages=(cekd.BASELINE, cekd.TEACHER),
        published=cekd.percent(cekd.MEANS, 71.8, 56.1),
        source="Table I",
    )
    return Table(
        name="cekd_table4",
        title="CEKD: losses of the distillation",
        paper=cekd.PAPER,
        scores=(cekd.test(*cekd.MEANS),),
        rows=(supervised, *rows, every, teacher),
        needs=cekd.NEEDS,
        notes=(
            *cekd.NOTES,
            cekd.NUMBERS,
            "AFD is taken to be Ji et al. (AAAI 2021) and PAD Zhang et al. (ECCV 2020); that they take the place of "
            "the edge feature's loss, on which features and with which weights, is not stated in our sources: AFD has "
            "its authors' 200, PAD 1.",
        ),
        world=cekd.world(*cekd.MEANS, "miou/day", "miou/night"),
    )
