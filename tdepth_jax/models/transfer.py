"""What two of the compared distillation losses learn beside the student; nothing of it is kept for prediction."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Matcher(nn.Module):
    """Which student map each teacher map should teach (AFD, Ji et al., AAAI 2021): shares [b t s] over the s maps.

    Queries come from the teacher's maps averaged over pixels, keys from the student's, and every pair of places has a
    learned affinity of its own.
    """

    width: int = 128

    @nn.compact
    def __call__(
        self, student: list[Float[Array, "b h w c"]], teacher: list[Float[Array, "b u v d"]]
    ) -> Float[Array, "b t s"]:
        def pooled(name: str, maps: list[Array]) -> Array:
            found = (x.astype(jnp.float32).mean(axis=(1, 2)) for x in maps)
            return jnp.stack(
                [nn.Dense(self.width, name=f"{name}_{i}")(x) for i, x in enumerate(found)], axis=1
            )

        places = nn.initializers.normal(self.width**-0.5)
        query, key = pooled("query", teacher), nn.Dense(self.width, name="bilinear")(pooled("key", student))
        theirs = self.param("teacher_places", places, (len(teacher), self.width))
        ours = self.param("student_places", places, (len(student), self.width))
        affinity = jnp.einsum("btd,bsd->bts", query, key) + theirs @ ours.T
        return jax.nn.softmax(affinity / self.width**0.5)


class LogVariance(nn.Module):
    """How far from the teacher the student expects a feature to be (PAD, Zhang et al., ECCV 2020): [b], from 0 on."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        x = x.astype(jnp.float32).mean(axis=(1, 2))
        return nn.Dense(1, kernel_init=nn.initializers.zeros, name="log_variance")(x)[:, 0]
