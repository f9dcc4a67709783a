"""The student of CEKD (Feng et al., RA-L 2023): EKNet labels thermal images alone, taught by a frozen CENet.

No label is used: the teacher's most probable classes are the labels. `labels="truth"` trains the same network on true
ones, which is what the paper compares with. The teacher comes from the run that `train.init_from` names.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.losses import distillation
from tdepth_jax.losses import segmentation as losses
from tdepth_jax.models.segmentation import SegConfig, SegNet
from tdepth_jax.models.transfer import LogVariance, Matcher
from tdepth_jax.systems import cekd_teacher, labelling, optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update

HELPED = ("attended", "uncertain")  # losses that learn something of their own


@dataclasses.dataclass(frozen=True)
class Model(SegConfig):
    """The student's network, and the sizes of the teacher's, which must be those of the run it comes from."""

    rgb: bool = False
    edges: str = "none"
    enhancement: bool = True
    encoder_weights: str | None = None  # folder written by import_weights; None = random
    teacher_encoder: str = "resnet50"
    teacher_width: int = 64
    teacher_rgb: bool = True
    teacher_last: str = "attention"
    teacher_attention_heads: int = 4
    teacher_attention_width: int = 512
    teacher_skips: bool = True
    teacher_edges: str = "D3D3"

    @property
    def teacher(self) -> SegConfig:
        said = {
            field.name.removeprefix("teacher_"): getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name.startswith("teacher_")
        }
        shared = ("position_size", "relu_logits", "enhancement_exponent", "dtype")
        return SegConfig(**said, **{name: getattr(self, name) for name in shared})


@dataclasses.dataclass(frozen=True)
class Settings(labelling.Settings):
    name: str = "cekd_student"
    labels: str = "teacher"  # what the cross-entropy of labels takes for true: teacher | truth
    label_weight: float = 1.0  # the paper's L_seg; a loss of weight 0 is not computed
    soft_weight: float = 1.0  # L_kdce, cross-entropy with the teacher's softened shares
    temperature: float = 6.0
    similarity_weight: float = 1.0  # L_sim, cosines between pixels of the deepest map
    hint_weight: float = 1.0  # L_e, the decoder's feature with edges
    hint_mean: str = (
        "values"  # the hint's mean: values (as the code) | pixels (as eq. 5: the sum over channels)
    )
    attended_weight: float = 0.0  # AFD (Ji et al. 2021), compared with in place of the hint
    uncertain_weight: float = 0.0  # PAD (Zhang et al. 2020), on the same feature as the hint

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that are computed."""
        names = ("label", "soft", "similarity", "hint", "attended", "uncertain")
        found = {name: getattr(self, f"{name}_weight") for name in names}
        return {name: weight for name, weight in found.items() if weight}

    @property
    def taught(self) -> bool:
        return self.labels == "teacher" or bool(self.weights.keys() - {"label"})


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    settings.check(configs.section(config, "data"))
    configs.check_choices("system", settings, labels=("teacher", "truth"), hint_mean=("values", "pixels"))
    if not settings.weights or min(settings.weights.values()) < 0 or settings.temperature <= 0:
        raise UserError(
            "system: give at least one loss a weight, none a negative one, and a temperature above 0"
        )
    if model.rgb or model.edges != "none":
        raise UserError("model.rgb and model.edges are the teacher's: the student sees thermal images alone")
    if settings.as_published:
        model = dataclasses.replace(model, relu_logits=True, enhancement_exponent="raw")
    teaching = model.teacher
    student = SegNet(model, len(settings.classes), hint=teaching.edge_output)
    master = SegNet(teaching, len(settings.classes))
    helpers: dict[str, Any] = {"attended": Matcher(), "uncertain": LogVariance()}
    helpers = {name: helpers[name] for name in HELPED if name in settings.weights}
    height, width = config.data.image_size
    _check_features(model, teaching, settings)

    def init(rng: Array) -> dict[str, Any]:
        image, colour = jnp.zeros((1, height, width, 1)), jnp.zeros((1, height, width, 3))
        own, theirs, *rest = jax.random.split(rng, 4)
        variables = {"student": student.init(own, image)}
        if settings.taught:
            variables["teacher"] = master.init(theirs, image, *([colour] if teaching.rgb else []))
        found: dict[str, Any] = {
            collection: {name: tree[collection] for name, tree in variables.items()}
            for collection in ("params", "batch_stats")
        }
        if helpers:
            ours: Any = student.apply(variables["student"], image)
            said: Any = master.apply(variables["teacher"], image, *([colour] if teaching.rgb else []))
            for key, (name, helper) in zip(rest, helpers.items(), strict=False):
                found["params"][name] = helper.init(key, *_helped(name, ours, said))["params"]
        return found

    def teacher(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        seen = labelling.images(batch, settings, rgb=teaching.rgb)
        found = cekd_teacher.network(variables, master, *seen)
        return {name: found[name] for name in _targets(settings)}

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        thermal, _ = labelling.images(batch, settings, rgb=False)
        ours, mutable = labelling.updated(params, mutable, "student", student, thermal)
        helped = {
            name: helper.apply({"params": params[name]}, *_helped(name, ours, targets))
            for name, helper in helpers.items()
        }
        return _terms(ours, targets, batch, helped, settings), mutable

    def outputs(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        thermal, _ = labelling.images(batch, settings, rgb=False)
        found: dict[str, Array] = labelling.applied(variables, "student", student, thermal)
        return found

    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    trained = (r"student/.*", *(rf"{name}/.*" for name in helpers))
    needs = labelling.sees(settings, rgb=settings.taught and teaching.rgb)
    truth = {"thermal/labels"} if settings.labels == "truth" and "label" in settings.weights else set()
    return System(
        needs=frozenset({"thermal/image", *truth}) | needs,
        wants=frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=(Update(name="all", trainable=trained, loss=loss, weights=settings.weights, tx=optimizer),),
        predict=labelling.predict(outputs),
        classes=settings.classes,
        teacher=teacher if settings.taught else None,
        panels=labelling.panels(outputs, settings),
        pretrained=pretrained.of_resnet(
            "student/thermal", model.encoder_weights, attention=model.last == "attention"
        ),
        inherits=(r"teacher/.*",) if settings.taught else (),
    )


def _terms(
    ours: dict[str, Any], theirs: Any, batch: Batch, helped: dict[str, Array], settings: Settings
) -> dict[str, Term]:
    """Every loss that has a weight."""

    def labels() -> Array:
        return (
            batch["thermal/labels"] if settings.labels == "truth" else jnp.argmax(theirs["logits"], axis=-1)
        )

    losses_of = {
        "label": lambda: losses.cross_entropy(ours["logits"], labels()),
        "soft": lambda: distillation.soft_cross_entropy(
            ours["logits"], theirs["logits"], temperature=settings.temperature
        ),
        "similarity": lambda: distillation.pairwise_similarity(ours["maps"][4], theirs["maps"][4]),
        "hint": lambda: distillation.feature_distance(
            ours["hint"], theirs["hint"], per_pixel=settings.hint_mean == "pixels"
        ),
        "attended": lambda: distillation.attended_distance(
            _attended(ours), _attended(theirs), helped["attended"]
        ),
        "uncertain": lambda: distillation.uncertain_distance(
            ours["hint"], theirs["hint"], helped["uncertain"]
        ),
    }
    return {name: losses_of[name]() for name in settings.weights}


def _targets(settings: Settings) -> list[str]:
    """What the losses with a weight read of the teacher."""
    readers = {
        "logits": {"label", "soft"},
        "maps": {"similarity", "attended"},
        "hint": {"hint", "attended", "uncertain"},
    }
    return [name for name, terms in readers.items() if terms & settings.weights.keys()]


def _attended(found: dict[str, Any]) -> list[Array]:
    """The maps that AFD matches: all but the first of the encoder, and the decoder's feature."""
    return [*found["maps"][1:], found["hint"]]


def _helped(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[Any, ...]:
    """What the learned part of a loss looks at."""
    return (_attended(ours), _attended(theirs)) if name == "attended" else (ours["hint"],)


def _check_features(student: SegConfig, teacher: SegConfig, settings: Settings) -> None:
    """The hint and PAD compare features channel by channel."""
    if not {"hint", "uncertain"} & settings.weights.keys():
        return
    share = 2 ** (6 - int(teacher.edge_output[1]))  # D3 has 1/8 of the deepest map's channels, D2 1/16
    ours, theirs = (one.resnet.channels[-1] // share for one in (student, teacher))
    if ours != theirs:
        raise UserError(
            f"the student's feature at {teacher.edge_output} has {ours} channels and the teacher's {theirs}: make "
            "model.encoder and model.width fit model.teacher_encoder and model.teacher_width, or set "
            "system.hint_weight=0 and system.uncertain_weight=0"
        )
