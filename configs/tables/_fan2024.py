"""What the tables of Fan et al. (ICRA 2024) share: the method's rows, its data, and what no source states."""

from tdepth_jax.reproduction.spec import Row, Score, Stage, World

PAPER = "Fan et al., Generalizable Thermal-based Depth Estimation via Pre-trained Visual Foundation Model, ICRA 2024"

DEPTH = ("abs_rel", "sq_rel", "rmse", "rmse_log", "d1")  # Table I
ORDERED = ("rmse", "rmse_log", "abs_rel", "sq_rel")  # as Tables II and IV print them

# Stage 2 starts from stage 1; every other row says what it leaves out or changes.
STAGES = (Stage("vivid_stage1"), Stage("vivid_stage2"))


def ours(**fields) -> Row:
    return Row(name="ours", title="Fan 2024, stage 1 + 2", stages=STAGES, **fields)


VIVID = "data/vivid_outdoor"
WEIGHTS = "weights/dinov2_vitb14"
NEEDS = {
    VIVID: "python -m tdepth_jax.prepare vivid --raw=KAIST_VIVID",
    WEIGHTS: f"python -m tdepth_jax.import_weights dinov2_vitb14_pretrain.pth -o {WEIGHTS}",
}
NIGHT = Score(name="night", title="ViViD outdoor, night test", metrics=DEPTH, protocol="fan2024")

NOT_STATED = (
    "Not stated in our sources, and chosen as the lineage's public code has it: batch size (4), learning-rate schedule "
    "(none), number of scales (1), pose network, frame interval (5), the loss image of stage 1 (the network's input), "
    "LoRA's scale, how 256 x 320 meets patches of 14 (centre padding), and how the two night sequences are merged (all "
    "images alike).",
)

WORLD_CONFIGS = {"vivid_stage1": "world_vits_stage1", "vivid_stage2": "world_vits_stage2"}
WORLD_WEIGHTS = "weights/dinov2_vits14"
WORLD_NEEDS = {
    "data/world": "python -m tdepth_jax.prepare world",
    WORLD_WEIGHTS: f"python -m tdepth_jax.import_weights dinov2_vits14_pretrain.pth -o {WORLD_WEIGHTS}",
}
NEW_SCENE = "ThermalWorld, new scene (other places, lens, rig, sensor and climate)"


def world(*scores: Score, **needs: str) -> World:
    return World(configs=WORLD_CONFIGS, scores=scores, needs=WORLD_NEEDS | needs)
