"""Table II of Fan et al.: models trained on ViViD, scored on ViViD++ and MS2 without training there.

python -m tdepth_jax.reproduce fan2024_table2
"""

from configs.tables import _fan2024 as fan
from tdepth_jax.reproduction.spec import Row, Score, Table

SCORES = (
    Score(
        name="vividpp",
        title="ViViD++ driving, 8 sequences",
        metrics=fan.ORDERED,
        protocol="fan2024",
        dataset="data/vividpp",
    ),
    Score(
        name="ms2",
        title="MS2, 20 sequences",
        metrics=fan.ORDERED,
        protocol="fan2024",
        dataset="data/ms2",
        splits=("train", "val", "test_day", "test_night", "test_rain"),
    ),
)
WORLD = (
    Score(
        name="vividpp",
        title=fan.NEW_SCENE,
        metrics=fan.ORDERED,
        protocol="fan2024",
        splits=("new_scene",),
    ),
    Score(
        name="ms2",
        title="ThermalWorld of another seed, new scene (places that neither training nor the other score saw)",
        metrics=fan.ORDERED,
        protocol="fan2024",
        dataset="data/world_1",
        splits=("new_scene",),
    ),
)


def both(vividpp: tuple[float, ...], ms2: tuple[float, ...]) -> dict[str, dict[str, float]]:
    return {
        "vividpp": dict(zip(fan.ORDERED, vividpp, strict=True)),
        "ms2": dict(zip(fan.ORDERED, ms2, strict=True)),
    }


def get_table() -> Table:
    ours = fan.ours(
        published=both((9.653, 0.387, 0.303, 3.464), (8.251, 0.295, 0.228, 2.234)), source="Table II"
    )
    stage1 = ours.but(
        "stage1",
        "Fan 2024, stage 1",
        stages=1,
        published=both((10.499, 0.395, 0.273, 3.032), (8.356, 0.299, 0.230, 2.292)),
        source="Table II",
    )
    quoted = (
        ("midas", "MiDaS v2.1", (10.588, 0.403, 0.289, 3.651), (9.449, 0.326, 0.237, 2.641)),
        ("dpt_hybrid", "DPT-Hybrid", (11.686, 0.398, 0.337, 7.615), (8.422, 0.250, 0.202, 2.768)),
        ("dpt_large", "DPT-Large", (10.299, 0.369, 0.281, 4.611), (8.362, 0.270, 0.203, 2.274)),
        ("shin2021", "Shin 2021", (10.979, 0.420, 0.377, 5.751), (15.031, 0.614, 0.577, 11.598)),
        ("shin2022", "Shin 2022", (10.245, 0.412, 0.330, 4.267), (13.342, 0.529, 0.521, 9.039)),
    )
    rows = [Row(name=n, title=t, published=both(a, b), source="Table II") for n, t, a, b in quoted]
    return Table(
        name="fan2024_table2",
        title="Fan et al. 2024, Table II: zero-shot from ViViD to ViViD++ and MS2",
        paper=fan.PAPER,
        scores=SCORES,
        rows=(*rows, stage1, ours),
        needs=fan.NEEDS
        | {
            "data/vividpp": "python -m tdepth_jax.prepare vividpp --raw=driving_full --thermal-from-lidar=T.txt",
            "data/ms2": "python -m tdepth_jax.prepare ms2 --raw=MS2",
        },
        notes=(
            "Not stated in our sources: how zero-shot depth is scaled (median per image here), how the ground truth of "
            "ViViD++ was made, and whether MS2's depth was filtered (filtered here); its 20 sequences are taken to be "
            "all of its splits.",
            *fan.NOT_STATED,
        ),
        world=fan.world(
            *WORLD,
            **{"data/world_1": "python -m tdepth_jax.prepare world --seed=1 --name=world_1"},
        ),
    )
