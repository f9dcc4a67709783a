"""What two of the compared distillation losses learn beside the student; nothing of it is kept for prediction."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Matcher(nn.Module):
    """Which student map each teacher map should teach (AFD, Ji et al., AAAI 2021): shares [b t s] over the s maps.

    Queries come from the teacher's maps averaged over pixels, keys from the student's through a bilinear form for each
    teacher map, and every pair of places has a learned affinity of its own; all as in the authors' code.
    """

    width: int = 128

    @nn.compact
    def __call__(
        self, student: list[Float[Array, "b h w c"]], teacher: list[Float[Array, "b u v d"]]
    ) -> Float[Array, "b t s"]:
        def pooled(name: str, maps: list[Array]) -> Array:
            found = (x.astype(jnp.float32).mean(axis=(1, 2)) for x in maps)
            layers = (_LinearNorm(self.width, name=f"{name}_{i}") for i in range(len(maps)))
            return jnp.stack([layer(x) for layer, x in zip(layers, found, strict=True)], axis=1)

        batch, count = len(student[0]), len(teacher)
        query, key = pooled("query", teacher), nn.relu(pooled("key", student))
        form = _LinearNorm(self.width * count, name="bilinear")
        key = form(key.reshape(-1, self.width)).reshape(batch, len(student), count, self.width)
        places = nn.initializers.glorot_normal()
        theirs = self.param("teacher_places", places, (count, self.width))
        ours = self.param("student_places", places, (len(student), self.width))
        affinity = jnp.einsum("btd,bstd->bts", query, key) + theirs @ ours.T
        return jax.nn.softmax(affinity / self.width**0.5)


class LogVariance(nn.Module):
    """How far from the teacher the student expects a map's channels to be (PAD, Zhang et al., ECCV 2020): [b c]."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
        return _LinearNorm(x.shape[-1], name="log_variance")(x.astype(jnp.float32).mean(axis=(1, 2)))


class _LinearNorm(nn.Module):
    """A linear map and a batch norm; only training uses it, so it keeps no running statistics."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n d"]:
        x = nn.Dense(self.width, name="linear")(x)
        x = (x - x.mean(axis=0)) * jax.lax.rsqrt(x.var(axis=0) + 1e-5)
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        return x * scale + self.param("bias", nn.initializers.zeros, (self.width,))
