"""What published checkpoints call each parameter, and what it is called here.

Every table is a list of (pattern, path): the pattern matches a whole published name, prefixes removed, and the
path is where the array goes. `{0}`, `{1}` are the pattern's groups; `{-0}` is 3 minus the group, because the
files count fusion levels from the deepest; `{block}` is the group-th block of MobileNetV2. A path `blocks/12/...` is
layer 12 of the scanned stack. In IGNORED, the second entry is the reason why nothing needs the array; in REFUSED, why
no file with it is taken.
"""

from __future__ import annotations

import re

from tdepth_jax.models.mobilenet import STAGES

PREFIXES = re.compile(
    r"^(?:(?:module|model|core|backbone|pretrained|dinov2|dinov2_with_registers|teacher)\.)+"
)
# MonoTher-Depth's file holds two networks: the thermal one, and the RGB one under the same names with this suffix.
SECOND = re.compile(r"(?<=\w)_extra(?=\.)")
BRANCHES = ("thermal", "rgb")

# facebookresearch/dinov2, vision_transformer.py. Training checkpoints put blocks in chunks: blocks.{chunk}.{i}.
_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."
DINOV2 = [
    (r"cls_token", "cls_token"),
    (r"pos_embed", "pos_embed"),
    (r"register_tokens", "register_tokens"),
    (r"patch_embed\.proj\.weight", "patch_embed/kernel"),
    (r"patch_embed\.proj\.bias", "patch_embed/bias"),
    (_BLOCK + r"(norm[12])\.weight", "blocks/{0}/{1}/scale"),
    (_BLOCK + r"(norm[12])\.bias", "blocks/{0}/{1}/bias"),
    (_BLOCK + r"attn\.(qkv|proj)\.weight", "blocks/{0}/{1}/kernel"),
    (_BLOCK + r"attn\.(qkv|proj)\.bias", "blocks/{0}/{1}/bias"),
    (_BLOCK + r"(ls[12])\.gamma", "blocks/{0}/{1}"),
    (_BLOCK + r"mlp\.(fc1|fc2|w12|w3)\.weight", "blocks/{0}/{1}/kernel"),
    (_BLOCK + r"mlp\.(fc1|fc2|w12|w3)\.bias", "blocks/{0}/{1}/bias"),
    (r"norm\.weight", "norm/scale"),
    (r"norm\.bias", "norm/bias"),
]

# transformers, modeling_dinov2.py and modeling_dinov2_with_registers.py; two spellings of the attention.
_LAYER = r"encoder\.layer\.(\d+)\."
_Q, _K, _V = (rf"attention\.(?:attention\.{word}|{word[0]}_proj)" for word in ("query", "key", "value"))
_O = r"attention\.(?:output\.dense|o_proj)"
HUGGING_FACE = [
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.register_tokens", "register_tokens"),
    (r"embeddings\.patch_embeddings\.projection\.weight", "patch_embed/kernel"),
    (r"embeddings\.patch_embeddings\.projection\.bias", "patch_embed/bias"),
    (_LAYER + r"(norm[12])\.weight", "blocks/{0}/{1}/scale"),
    (_LAYER + r"(norm[12])\.bias", "blocks/{0}/{1}/bias"),
    *(
        (_LAYER + pattern + rf"\.{leaf}", f"blocks/{{0}}/{ours}/{'kernel' if leaf == 'weight' else 'bias'}")
        for pattern, ours in ((_Q, "q"), (_K, "k"), (_V, "v"), (_O, "proj"))
        for leaf in ("weight", "bias")
    ),
    (_LAYER + r"layer_scale([12])\.lambda1", "blocks/{0}/ls{1}"),
    (_LAYER + r"mlp\.(fc[12])\.weight", "blocks/{0}/{1}/kernel"),
    (_LAYER + r"mlp\.(fc[12])\.bias", "blocks/{0}/{1}/bias"),
    *(
        (
            _LAYER + rf"mlp\.{theirs}_proj\.{leaf}",
            f"blocks/{{0}}/{ours}/{'kernel' if leaf == 'weight' else 'bias'}",
        )
        for theirs, ours in (("gate", "w1"), ("up", "w2"), ("down", "w3"))
        for leaf in ("weight", "bias")
    ),
    (_LAYER + r"mlp\.weights_in\.weight", "blocks/{0}/w12/kernel"),
    (_LAYER + r"mlp\.weights_in\.bias", "blocks/{0}/w12/bias"),
    (_LAYER + r"mlp\.weights_out\.weight", "blocks/{0}/w3/kernel"),
    (_LAYER + r"mlp\.weights_out\.bias", "blocks/{0}/w3/bias"),
    (r"layernorm\.weight", "norm/scale"),
    (r"layernorm\.bias", "norm/bias"),
]


def _with_leaves(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each (module, path) as its weight and its bias."""
    leaves = (("weight", "kernel"), ("bias", "bias"))
    return [(rf"{name}\.{leaf}", f"{path}/{ours}") for name, path in rows for leaf, ours in leaves]


# DepthAnything/Depth-Anything-V2 (and V1), dpt.py: `refinenet4` is the deepest level.
DEPTH_ANYTHING = _with_leaves(
    [
        (r"depth_head\.projects\.(\d)", "reassemble_{0}/project"),
        (r"depth_head\.resize_layers\.(\d)", "reassemble_{0}/resize"),
        *((rf"depth_head\.scratch\.layer{i + 1}_rn", f"reassemble_{i}/to_features") for i in range(4)),
        *(
            (rf"depth_head\.scratch\.refinenet{i + 1}\.{theirs}", f"fuse_{i}/{ours}")
            for i in range(4)
            for theirs, ours in (
                (r"resConfUnit1\.conv([12])", "skip/conv_{0}"),
                (r"resConfUnit2\.conv([12])", "refine/conv_{0}"),
                (r"out_conv", "project"),
            )
        ),
        (r"depth_head\.scratch\.output_conv1", "out_1"),
        (r"depth_head\.scratch\.output_conv2\.0", "out_2"),
        (r"depth_head\.scratch\.output_conv2\.2", "out_3"),
    ]
)

# facebookresearch/dinov2, hub/depth/decode_heads.py: fusion block 0 is the deepest level.
DINOV2_HEAD = _with_leaves(
    [
        (r"decode_head\.reassemble_blocks\.projects\.(\d)\.conv", "reassemble_{0}/project"),
        (r"decode_head\.reassemble_blocks\.resize_layers\.(\d)", "reassemble_{0}/resize"),
        (r"decode_head\.reassemble_blocks\.readout_projects\.(\d)\.0", "reassemble_{0}/readout"),
        (r"decode_head\.convs\.(\d)\.conv", "reassemble_{0}/to_features"),
        (r"decode_head\.fusion_blocks\.(\d)\.res_conv_unit1\.conv([12])\.conv", "fuse_{-0}/skip/conv_{1}"),
        (r"decode_head\.fusion_blocks\.(\d)\.res_conv_unit2\.conv([12])\.conv", "fuse_{-0}/refine/conv_{1}"),
        (r"decode_head\.fusion_blocks\.(\d)\.project\.conv", "fuse_{-0}/project"),
        (r"decode_head\.project\.conv", "project"),
        (r"decode_head\.conv_depth\.head\.0", "out_1"),
        (r"decode_head\.conv_depth\.head\.2", "out_2"),
        (r"decode_head\.conv_depth\.head\.4", "out_3"),
        (r"decode_head\.conv_depth", "bins"),  # the linear heads
    ]
)

# isl-org/ZoeDepth, models/zoedepth/zoedepth_v1.py, and ZuoJiaxing/monother_depth: what stands on the DPT.
METRIC_BINS = _with_leaves(
    [
        (r"conv2", "bottleneck"),
        *(
            (rf"{theirs}\.{index}", f"{ours}/{layer}")
            for theirs, ours in (
                (r"seed_bin_regressor\._net", "seeds"),
                (r"seed_projector\._net", "embed_seeds"),
                (r"projectors\.(\d)\._net", "embed_{0}"),
                (r"attractors\.(\d)\._net", "attract_{0}"),
                (r"conditional_log_binomial\.mlp", "mixture"),
            )
            for index, layer in (("0", "hidden"), ("2", "out"))
        ),
    ]
)

# transformers, modeling_depth_anything.py and modeling_dpt.py: fusion layer 0 is the deepest level.
HUGGING_FACE_HEAD = _with_leaves(
    [
        (r"neck\.reassemble_stage\.layers\.(\d)\.projection", "reassemble_{0}/project"),
        (r"neck\.reassemble_stage\.layers\.(\d)\.resize", "reassemble_{0}/resize"),
        (r"neck\.reassemble_stage\.readout_projects\.(\d)\.0", "reassemble_{0}/readout"),
        (r"neck\.convs\.(\d)", "reassemble_{0}/to_features"),
        (r"neck\.fusion_stage\.layers\.(\d)\.residual_layer1\.convolution([12])", "fuse_{-0}/skip/conv_{1}"),
        (
            r"neck\.fusion_stage\.layers\.(\d)\.residual_layer2\.convolution([12])",
            "fuse_{-0}/refine/conv_{1}",
        ),
        (r"neck\.fusion_stage\.layers\.(\d)\.projection", "fuse_{-0}/project"),
        (r"head\.projection", "project"),
        (r"head\.conv([123])", "out_{0}"),
        (r"head\.head\.0", "out_1"),
        (r"head\.head\.2", "out_2"),
        (r"head\.head\.4", "out_3"),
    ]
)

# torchvision, models/resnet.py. Statistics go to "batch_stats".
RESNET = [
    (r"conv1\.weight", "conv1/kernel"),
    (r"layer(\d)\.(\d+)\.(conv\d)\.weight", "layer{0}_{1}/{2}/kernel"),
    (r"layer(\d)\.(\d+)\.downsample\.0\.weight", "layer{0}_{1}/downsample_conv/kernel"),
    *(
        (rf"{theirs}\.{leaf}", f"{ours}/{to}")
        for theirs, ours in (
            (r"(bn1)", "{0}"),
            (r"layer(\d)\.(\d+)\.(bn\d)", "layer{0}_{1}/{2}"),
            (r"layer(\d)\.(\d+)\.downsample\.1", "layer{0}_{1}/downsample_bn"),
        )
        for leaf, to in (("weight", "scale"), ("bias", "bias"))
    ),
]

# torchvision, models/mobilenetv2.py: the blocks of all stages are counted through, after the stem; the first does not
# expand. Statistics go to "batch_stats".
BLOCKS = [f"stage{stage}_{i}" for stage, (_, _, count, _) in enumerate(STAGES) for i in range(count)]
_FIRST, _LATER, _LAST = r"features\.(1)\.conv", r"features\.([2-9]|1[0-7])\.conv", r"features\.18"
MOBILENET = [
    *(
        (rf"{theirs}\.weight", f"{ours}/kernel")
        for theirs, ours in (
            (r"features\.0\.0", "stem/conv"),
            (_FIRST + r"\.0\.0", "{block}/depthwise"),
            (_FIRST + r"\.1", "{block}/project/conv"),
            (_LATER + r"\.0\.0", "{block}/expand/conv"),
            (_LATER + r"\.1\.0", "{block}/depthwise"),
            (_LATER + r"\.2", "{block}/project/conv"),
            (_LAST + r"\.0", "last/conv"),
        )
    ),
    *(
        (rf"{theirs}\.{leaf}", f"{ours}/{to}")
        for theirs, ours in (
            (r"features\.0\.1", "stem/bn"),
            (_FIRST + r"\.0\.1", "{block}/depthwise_bn"),
            (_FIRST + r"\.2", "{block}/project/bn"),
            (_LATER + r"\.0\.1", "{block}/expand/bn"),
            (_LATER + r"\.1\.1", "{block}/depthwise_bn"),
            (_LATER + r"\.3", "{block}/project/bn"),
            (_LAST + r"\.1", "last/bn"),
        )
        for leaf, to in (("weight", "scale"), ("bias", "bias"))
    ),
]


def _statistics(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of a table's batch normalisations."""
    return [
        (pattern.replace("weight", f"running_{ours}"), path.replace("scale", ours))
        for pattern, path in table
        if path.endswith("scale")
        for ours in ("mean", "var")
    ]


IGNORED = [
    (r"(?:embeddings\.)?mask_token", "masks patches in pretraining only"),
    (r"(?:depth_head\.scratch\.refinenet4\.resConfUnit1|(?:neck\.fusion_stage\.layers|decode_head\.fusion_blocks)"
     r"\.0\.(?:residual_layer1|res_conv_unit1))\..*", "the deepest level has no skip"),
    (r"decode_head\.bn\..*", "not part of the released head"),
    (r"conditional_log_binomial\.log_binomial_transform\..*", "a constant"),
    (r"conf_net\..*", "the confidence network, no part of a depth network"),
    (r".*\.num_batches_tracked", "a counter of training steps"),
]  # fmt: skip

REFUSED = [
    (r"(?:mobilenet_v2\.)?conv_stem\.first_conv\..*",
     "a MobileNetV2 of transformers was trained with TensorFlow's padding (where the stride is 2, below and to the "
     "right alone) and an epsilon of 0.001, with which the network here, torchvision's, would see other features; "
     "import torchvision's mobilenet_v2"),
]  # fmt: skip

OTHER_HEADS = r"(?:dino_head|ibot_head|head|classifier|fc)\."  # where no table knows the name

TABLES = (
    *(("vit", table) for table in (DINOV2, HUGGING_FACE)),
    *(("head", table) for table in (DEPTH_ANYTHING, DINOV2_HEAD, HUGGING_FACE_HEAD)),
    ("metric_bins", METRIC_BINS),
    ("resnet", RESNET),
    ("resnet_statistics", _statistics(RESNET)),
    ("mobilenet", MOBILENET),
    ("mobilenet_statistics", _statistics(MOBILENET)),
)


def branch(name: str) -> tuple[str, str]:
    """(the name without its branch, which of BRANCHES it is of)."""
    bare, found = SECOND.subn("", name)
    return bare, BRANCHES[found > 0]


def place(name: str) -> tuple[str, str] | None:
    """(part, path) of a published name, ("ignored" or "refused", reason), or None for a name nobody published."""
    bare = PREFIXES.sub("", name)
    for verdict, reasons in (("ignored", IGNORED), ("refused", REFUSED)):
        for pattern, reason in reasons:
            if re.fullmatch(pattern, bare):
                return verdict, reason
    for part, table in TABLES:
        for pattern, path in table:
            if match := re.fullmatch(pattern, bare):
                groups = match.groups()
                number = int(groups[0]) if groups and groups[0].isdigit() else 0
                block = BLOCKS[number - 1] if "{block}" in path else ""
                return part, path.replace("{-0}", str(3 - number)).format(*groups, block=block)
    if re.match(OTHER_HEADS, bare):
        return "ignored", "a head of another task"
    return None
