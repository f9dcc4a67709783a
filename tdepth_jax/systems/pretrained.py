"""Which imported weights a system starts from, and what of them it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights that replace the random ones under one prefix of the parameters.

    Attributes:
      folder: one part of what import_weights wrote, e.g. weights/dinov2_vitb14/vit.
      required: whether a folder that is absent or does not fit is a mistake. Otherwise the prefix starts random, and
        the run says why where the folder is there.
      fresh: regular expressions over the paths below the prefix that start random all the same, whatever the folder
        has there.
      statistics: folder of the running statistics that go with the weights, for the same prefix of "batch_stats".
      first: path below the prefix of a first convolution that the import has for RGB, to be made into one for the
        channels that this network has there.
    """

    folder: str
    required: bool = True
    fresh: tuple[str, ...] = ()
    statistics: str | None = None
    first: str | None = None


def of_depth_net(prefix: str, folder: str | None, *, output: str) -> Mapping[str, Pretrained]:
    """The parts of an import that a `DepthNet` under `prefix` with this `output` starts from; none for None.

    The backbone must be there. A head is taken where one came with it and its shapes fit. No published head predicts
    a sigmoid of disparity, which saturates at the sizes their last layer gives: for that output it starts fresh.
    """
    if not folder:
        return {}
    fresh = (r"out_3/.*",) if output == "disparity_sigmoid" else ()
    found = {
        f"{prefix}/vit": Pretrained(f"{folder}/vit"),
        f"{prefix}/head": Pretrained(f"{folder}/head", required=False, fresh=fresh),
    }
    if output == "metric_bins":
        # Without any in the import they start random on its relative head, as published.
        found[f"{prefix}/metric_bins"] = Pretrained(f"{folder}/metric_bins", required=False)
    return found


def of_resnet(prefix: str, folder: str | None, *, attention: bool = False) -> Mapping[str, Pretrained]:
    """The ResNet under `prefix`, on images of any channels, from an import of torchvision's; none for None.

    An `attention` stage in place of the last one has no counterpart there and starts random.
    """
    if not folder:
        return {}
    fresh = (r"layer4.*",) if attention else ()
    statistics = f"{folder}/resnet_statistics"
    weights = Pretrained(f"{folder}/resnet", fresh=fresh, statistics=statistics, first="conv1/kernel")
    return {prefix: weights}


def of_mobilenet(prefix: str, folder: str | None) -> Mapping[str, Pretrained]:
    """The import that a `MobileNetV2` under `prefix`, on images of any channels, starts from; none for None."""
    if not folder:
        return {}
    weights = Pretrained(
        f"{folder}/mobilenet", statistics=f"{folder}/mobilenet_statistics", first="stem/conv/kernel"
    )
    return {prefix: weights}
