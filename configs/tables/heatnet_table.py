"""HeatNet's networks side by side, by day and by night: its teachers, RGB-T without and with confusion, RGB alone.

python -m tdepth_jax.reproduce heatnet_table
python -m tdepth_jax.reproduce heatnet_table --world --seeds=3
"""

from tdepth_jax.reproduction.spec import Row, Score, Stage, Table, World

PAPER = (
    "Vertens, Zürn, Burgard, HeatNet: Bridging the Day-Night Domain Gap in Semantic Segmentation with Thermal Images, "
    "IROS 2020"
)
METRICS = ("miou/day", "miou/night", "miou/combined")
PAGE = "the authors' page of the paper; its tables by class are not in our sources"
MD, MN, RGBT, RGB = (Stage(f"freiburg_heatnet_{name}") for name in ("md", "mn", "rgbt", "rgb"))


def get_table() -> Table:
    md = Row(
        name="md",
        title="MD (RGB, labels by day)",
        stages=(MD,),
        published={"test": {"miou/day": 0.694, "miou/night": 0.357}},
        source=PAGE,
    )
    mn = Row(
        name="mn",
        title="MN (thermal, labels by day)",
        stages=(MN,),
        published={"test": {"miou/night": 0.57}},
        source=PAGE,
    )
    rgbt = Row(
        name="rgbt",
        title="RGB-T, confused",
        stages=(MN, RGBT),
        published={"test": {"miou/combined": 0.649}},
        source=PAGE,
    )
    without = rgbt.but("noconf", "RGB-T, no confusion", change={"system.confusion_weight": "0"}, since=2)
    # What confusion does where nothing else is learnt by night: MN lends its weights at the start, and no label.
    alone = {"system.night": "none"}
    day = rgbt.but("day", "RGB-T, day alone", change={**alone, "system.confusion_weight": "0"}, since=2)
    confused = rgbt.but("day_confused", "RGB-T, day alone, confused", change=alone, since=2)
    rgb = Row(name="rgb", title="RGB student", stages=(MN, RGBT, RGB))
    return Table(
        name="heatnet_table",
        title="HeatNet: labels by day and night",
        paper=PAPER,
        scores=(score("test", "Freiburg Thermal test"),),
        rows=(md, mn, day, confused, without, rgbt, rgb),
        needs={"data/freiburg": "python -m tdepth_jax.prepare freiburg --raw=DIR"},
        notes=(
            "Figures are shares, the paper prints per cent; means leave the background out; combined is the mean of "
            "day and night, class by class.",
            "The published MN figure is taken to be by night and the RGB-T one to be of day and night combined.",
            "The authors validate with batch statistics and dropout in use, choose the best epoch on the test split: "
            "here the last counts, by running statistics.",
            "MD is trained on labels that the authors' MD, of Mapillary Vistas, has said; the published row is theirs.",
            "All RGB-T rows have as many steps of the network and one starting point; those of day alone have no "
            "labels by night, the others MN's.",
        ),
        world=World(
            configs={
                "freiburg_heatnet_md": "world_heatnet_md",
                "freiburg_heatnet_mn": (
                    "world_heatnet_md",
                    "world_heatnet_mn",
                ),  # there MD says the labels by day
                "freiburg_heatnet_rgbt": "world_heatnet_rgbt",
                "freiburg_heatnet_rgb": "world_heatnet_rgb",
            },
            scores=(score("world", "ThermalWorld test"),),
            needs={"data/world": "python -m tdepth_jax.prepare world"},
        ),
    )


def score(name: str, title: str) -> Score:
    return Score(name=name, title=title, metrics=METRICS, protocol="heatnet", kind="labels")
