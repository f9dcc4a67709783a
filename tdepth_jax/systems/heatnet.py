"""HeatNet (Vertens, Zurn, Burgard, IROS 2020): labels by day and night with no label by night.

Four runs share one config section, each starting from the one before (`train.init_from`), whose networks teach it:

  md    sees RGB; learns the data's labels by day
  mn    sees thermal images; learns what MD says by day, and works by night for heat looks much alike
  rgbt  sees both; learns what MD says by day and, by night, what MN says, weighed by how sure that is; a critic learns
        to tell day from night by its logits, and it to confuse the critic
  rgb   sees RGB alone; learns what MD says by day and the adapted RGB-T network by night

In every step the critic's turn comes before the network's, as published (1/1/1), both on one batch; `turns` gives them
steps of their own. A batch may hold any mixture of day and night; frames of other conditions are not looked at. HeatNet
sees registered pairs: where they are not, `alignment="depth"` registers them, at prediction too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.losses import adversarial
from tdepth_jax.losses import segmentation as losses
from tdepth_jax.models.pspnet import LEAST, VIEWS, Critic, PspConfig, PspNet
from tdepth_jax.systems import labelling, optimizers
from tdepth_jax.systems.base import Batch, Params, System, Term, Update

FREIBURG = (
    "road", "sidewalk", "building", "curb", "fence", "pole", "vegetation", "terrain", "sky", "person", "car",
    "bicycle", "background",
)  # fmt: skip
RUNS: Mapping[str, tuple[str, ...]] = {"md": ("rgb",), "mn": ("thermal",), "rgbt": VIEWS, "rgb": ("rgb",)}
BY_NIGHT = {"rgbt": "mn", "rgb": "rgbt"}  # who teaches whom
DAY, NIGHT = "condition/day", "condition/night"
TARGETS = ("swapped", "day")
PUBLISHED_TURNS = (1, 1, 1)
REMARKS = {
    1.0: "the critic tells day from night nearly everywhere (critic/right), so that nothing is confused: raise "
    "system.confusion_weight or lower system.critic_rate",
    -1.0: "the critic says the same of day and of night (critic/spread): either it has collapsed or the logits are "
    "alike; compare the labels by night with those of a run with system.confusion_weight=0, and raise "
    "system.critic_rate if they are no better",
}


@dataclasses.dataclass(frozen=True)
class Model(PspConfig):
    """Of all networks of a chain of runs alike."""

    critic_width: int = 64  # channels of the critic's first map


@dataclasses.dataclass(frozen=True)
class Settings(labelling.Settings):
    name: str = "heatnet"
    trains: str = "rgbt"  # md | mn | rgbt | rgb
    classes: tuple[str, ...] = FREIBURG
    normalization: str = "fixed"
    limits: tuple[float, ...] = (21800.0, 25000.0)
    labels: str = (
        "teacher"  # by day: MD's (teacher), or those of the data (data), which may be some MD's already
    )
    night: str = "teacher"  # whom rgbt and rgb follow by night (teacher) or not (none)
    night_weight: float = 1.0
    certainty: bool = True  # labels by night weigh by how sure their teacher is
    confusion_weight: float = 0.01  # 0: no critic
    confusion: str = (
        "swapped"  # day is to look like night and night like day (--multidir) | day: night like day alone
    )
    adversarial: str = "squares"  # squares (LSGAN) | cross_entropy
    doubt: bool = True  # by night confusion weighs by how unsure the teacher is; without one it does not
    critic_rate: float = 1.0  # the critic's learning rate, by the network's
    # Steps of the critic first, then in turn of the network and of the critic (published code's defaults: 1000, 50,
    # 500; its best run: 1, 1, 1); none: in every step both, the critic first.
    turns: tuple[int, ...] = ()
    # As published, against what is right: certainty is the softmax of a softmax, doubt is one number for all pixels of
    # day and of night, and the turns are apart.
    as_published: bool = False

    def __post_init__(self) -> None:
        configs.check_choices(
            "system", self, trains=tuple(RUNS), labels=("teacher", "data"), night=("teacher", "none"),
            confusion=TARGETS, adversarial=adversarial.KINDS,
        )  # fmt: skip
        if min(self.night_weight, self.confusion_weight) < 0 or self.critic_rate <= 0:
            raise UserError("system: no weight may be negative, and critic_rate must be above 0")
        if self.turns and (len(self.turns) != 3 or min(self.turns) < 0 or min(self.turns[1:]) < 1):
            raise UserError(
                f"system.turns={self.turns} must be three numbers of steps: the critic's first, then the network's and "
                "the critic's, these two at least 1"
            )
        if self.trains == "md" and self.labels == "teacher":
            raise UserError("system.trains=md has no teacher by day; set system.labels=data")
        if self.night == "teacher" and self.trains not in BY_NIGHT:
            raise UserError(f"system.trains={self.trains} has no teacher by night; set system.night=none")

    @property
    def day_teacher(self) -> str | None:
        return "md" if self.labels == "teacher" else None

    @property
    def night_teacher(self) -> str | None:
        return BY_NIGHT[self.trains] if self.night == "teacher" else None

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(name for name in (self.day_teacher, self.night_teacher) if name)

    @property
    def order(self) -> tuple[int, ...]:
        return self.turns or (PUBLISHED_TURNS if self.as_published else ())

    @property
    def weights(self) -> dict[str, float]:
        """Of the network's terms."""
        found = {"day": 1.0}
        found |= {"night": self.night_weight} if self.night_teacher else {}
        if self.confusion_weight:
            found |= {"confuse_day": self.confusion_weight, "confuse_night": self.confusion_weight}
        return found


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    settings.check(configs.section(config, "data"))
    height, width = config.data.image_size
    if settings.confusion_weight and min(height, width) < LEAST:
        raise UserError(f"data.image_size={(height, width)}: a critic needs at least {LEAST} pixels a side")
    own = settings.trains
    nets = {
        name: PspNet(model, len(settings.classes), views)
        for name, views in RUNS.items()
        if name == own or name in settings.teachers
    }
    critic = Critic(model.critic_width, model.compute_dtype)

    def init(rng: Array) -> dict[str, Any]:
        keys = dict(zip((*RUNS, "critic"), jax.random.split(rng, len(RUNS) + 1), strict=True))
        images = {"thermal": jnp.zeros((1, height, width, 1)), "rgb": jnp.zeros((1, height, width, 3))}
        made = {
            name: net.init(keys[name], *(images[v] if v in net.views else None for v in VIEWS))
            for name, net in nets.items()
        }
        found: dict[str, Any] = {
            collection: {name: tree[collection] for name, tree in made.items()}
            for collection in ("params", "batch_stats")
        }
        if settings.confusion_weight:
            logits = jnp.zeros((1, height, width, len(settings.classes)))
            found["params"]["critic"] = critic.init(keys["critic"], logits)["params"]
            found["watch"] = {"critic": adversarial.watch_begun()._asdict()}
        return found

    def see(batch: Batch, name: str) -> tuple[Array | None, Array | None]:
        """The images that a network looks at."""
        thermal, colour = labelling.images(batch, settings, rgb="rgb" in RUNS[name])
        return (thermal if "thermal" in RUNS[name] else None), colour

    def frozen(variables: dict[str, Any], name: str, batch: Batch) -> Array:
        said: Array = labelling.applied(variables, name, nets[name], *see(batch, name))
        return said

    def teacher(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """Labels, 255 where nobody says any, and how sure they are."""
        found = {}
        if settings.day_teacher:
            said = jnp.argmax(frozen(variables, settings.day_teacher, batch), axis=-1)
            found["labels"] = jnp.where(_mask(batch[DAY]), said, losses.IGNORE)
        if settings.night_teacher:
            logits, night = frozen(variables, settings.night_teacher, batch), _mask(batch[NIGHT])
            rest = found.get("labels", losses.IGNORE)
            found["labels"] = jnp.where(night, jnp.argmax(logits, axis=-1), rest)
            sure = losses.certainty(logits, as_published=settings.as_published)
            found["certainty"] = jnp.where(night, sure, 1.0)
        return jax.lax.stop_gradient(found)

    def network_loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        logits, mutable = labelling.updated(params, mutable, own, nets[own], *see(batch, own), rng=rng)
        labels = targets["labels"] if settings.day_teacher else batch["thermal/labels"]
        terms = {"day": losses.cross_entropy(logits, _only(labels, batch[DAY]))}
        if settings.night_teacher:
            weight = targets["certainty"] if settings.certainty else None
            terms["night"] = losses.cross_entropy(logits, _only(targets["labels"], batch[NIGHT]), weight)
        if settings.confusion_weight:
            said: Any = critic.apply({"params": params["critic"]}, logits)
            weight = _doubt(targets, batch, settings)
            like = 0.0 if settings.confusion == "swapped" else 1.0  # what day is to be taken for
            for name, key, target in (("confuse_day", DAY, like), ("confuse_night", NIGHT, 1.0)):
                terms[name] = adversarial.domain_loss(
                    said, batch[key], target, kind=settings.adversarial, weight=weight
                )
        return terms, mutable

    def critic_loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        # The network as it trains, its batch's statistics and dropout in use; they move in the network's turn.
        logits, _ = labelling.updated(params, mutable, own, nets[own], *see(batch, own), rng=rng)
        said: Any = critic.apply({"params": params["critic"]}, jax.lax.stop_gradient(logits))
        kind = settings.adversarial
        before = adversarial.Watch(**mutable["watch"]["critic"])
        watch = adversarial.watched(before, said, batch[DAY], batch[NIGHT], kind=kind)
        terms = {
            "day": adversarial.domain_loss(said, batch[DAY], 1.0, kind=kind),
            "night": adversarial.domain_loss(said, batch[NIGHT], 0.0, kind=kind),
            "right": (watch.right, jnp.ones(())),
            "spread": (watch.spread, jnp.ones(())),
            "verdict": (adversarial.verdict(watch), jnp.ones(())),
        }
        return terms, {**mutable, "watch": {"critic": watch._asdict()}}

    def outputs(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        return {"logits": frozen(variables, own, batch)}

    updates = [
        Update(
            name="network",
            trainable=(rf"{own}/.*",),
            loss=network_loss,
            weights=settings.weights,
            tx=_optimizer(config, settings, critic=False),
        )
    ]
    if settings.confusion_weight:
        turn = Update(
            name="critic",
            trainable=(r"critic/.*",),
            loss=critic_loss,
            weights={"day": 1.0, "night": 1.0},
            tx=_optimizer(config, settings, critic=True),
        )
        updates.insert(0, turn)
    sees = labelling.sees(settings, rgb="rgb" in RUNS[own])
    colour = any("rgb" in RUNS[name] for name in nets)
    needs = {"thermal/image", DAY} | labelling.sees(settings, rgb=colour)
    needs |= {NIGHT} if settings.night_teacher or settings.confusion_weight else set()
    needs |= set() if settings.day_teacher else {"thermal/labels"}
    return System(
        needs=frozenset(needs),
        wants=frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=tuple(updates),
        predict=labelling.predict(outputs),
        sees=sees,
        classes=settings.classes,
        teacher=teacher if settings.teachers else None,
        panels=labelling.panels(outputs, settings),
        remark=lambda logs: REMARKS.get(logs.get("critic/verdict", 0.0), ""),
        inherits=tuple(rf"{name}/.*" for name in settings.teachers),
    )


def _mask(of: Array) -> Array:
    return of[:, None, None]


def _only(labels: Array, of: Array) -> Array:
    return jnp.where(_mask(of), labels, losses.IGNORE)


def _doubt(targets: Any, batch: Batch, settings: Settings) -> Array | None:
    """The weight of confusion at every pixel: 1 by day, and by night 1 less the teacher's certainty."""
    if not (settings.doubt and settings.night_teacher):
        return None
    doubt: Array = 1 - targets["certainty"]
    night = jnp.broadcast_to(_mask(batch[NIGHT]), doubt.shape)
    if settings.as_published:
        mean = jnp.where(night, doubt, 0.0).sum() / jnp.maximum(night.sum(), 1)
        return jnp.broadcast_to(mean, doubt.shape)
    return jnp.where(night, doubt, 1.0)


def _optimizer(config: ConfigDict, settings: Settings, *, critic: bool) -> optax.GradientTransformation:
    """One optimiser's settings for both, its schedule over as many steps as there are turns."""
    said, steps = configs.section(config, "optimizer"), config.train.steps
    order = settings.order if settings.confusion_weight else ()

    def turn(step: Any) -> Any:
        first, network, critics = order
        of_critic = (step < first) | ((step - first) % (network + critics) >= network)
        return of_critic if critic else ~of_critic

    if order:
        steps = max(int(turn(np.arange(steps)).sum()), 1)
    tx = optimizers.make(said, steps=steps)
    tx = optimizers.slowed(tx, ".*", settings.critic_rate) if critic else tx
    return optimizers.turned(tx, turn) if order else tx
