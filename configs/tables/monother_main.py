"""MonoTher-Depth's claim: RGB depth, listened to as far as it can be trusted, teaches thermal depth in new scenes.

python -m tdepth_jax.reproduce monother_main
"""

from tdepth_jax.reproduction.spec import Row, Score, Stage, Table, World

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "d1")
LABELLED, ADAPTED = Stage("ms2_confidence"), Stage("vivid_confidence")
UNTAUGHT = Stage("ms2_confidence", {"system.distill_weight": "0"})


def world(name: str, title: str, condition: str | None, split: str = "new_scene") -> Score:
    return Score(
        name=name, title=f"ThermalWorld, {title}", metrics=METRICS, protocol="monother", splits=(split,),
        condition=condition,
    )  # fmt: skip


def get_table() -> Table:
    alone = Row(
        name="no_distillation",
        title="labels of the old scenes alone",
        stages=(UNTAUGHT,),
        note="Both networks and the confidence are trained, but no depth is handed from one to the other.",
    )
    aware = Row(
        name="aware",
        title="confidence-aware distillation in the new scenes",
        stages=(UNTAUGHT, ADAPTED),
        neighbour="no_distillation",
    )
    plain = aware.but(
        "plain", "plain distillation in the new scenes", change={"system.weighting": "plain"}, since=2,
        note="Every pixel of the same mask weighs alike, however little the teacher is trusted there.",
    )  # fmt: skip
    both = Row(
        name="aware_in_both_stages",
        title="confidence-aware distillation in both stages (as published)",
        stages=(LABELLED, ADAPTED),
        extra=True,
        note="The full recipe. The rows above begin with one and the same student, so that they differ in the new "
        "scenes alone.",
    )
    return Table(
        name="monother_main",
        title="MonoTher-Depth: thermal depth in new scenes without labels",
        paper="Zuo et al., MonoTher-Depth: Enhancing Thermal Depth Estimation via Confidence-Aware Distillation, "
        "RA-L 2025",
        scores=(Score(name="night", title="ViViD outdoor, night", metrics=METRICS, protocol="monother"),),
        rows=(alone, plain, aware, both),
        needs={
            "data/ms2": "python -m tdepth_jax.prepare ms2 --raw=DIR",
            "data/vivid_outdoor": "python -m tdepth_jax.prepare vivid --raw=DIR",
            "weights/depth_anything_vitl14": "python -m tdepth_jax.import_weights depth_anything_vitl14.pth "
            "-o weights/depth_anything_vitl14",
        },
        notes=(
            "Published: Abs Rel in new scenes without labels is 22.88 % below that without distillation. The rows of "
            "that comparison stand in no source of ours, so no number is printed beside these.",
        ),
        world=World(
            configs={
                "ms2_confidence": (
                    "world_confidence_teacher",
                    "world_confidence_student",
                    "world_confidence",
                ),
                "vivid_confidence": "world_confidence_adapt",
            },
            fixed=frozenset({"world_confidence_teacher"}),
            scores=(
                world("night", "new scene", None),
                world("day", "new scene by day", "day"),
                world("by_night", "new scene by night", "night"),
                world("fog", "new scene in fog", "fog"),
                world("old", "the labelled scenes", None, split="test"),
            ),
            needs={
                "data/world": "python -m tdepth_jax.prepare world",
                "weights/dinov2_vits14": "python -m tdepth_jax.import_weights dinov2_vits14_pretrain.pth "
                "-o weights/dinov2_vits14",
            },
        ),
    )
