"""Densely connected dilated convolutions at several rates (DenseASPP, Yang et al., CVPR 2018), full and point-wise."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.mobilenet import ConvNorm, Depthwise

RATES = (3, 6, 12, 18, 24)  # BTS's; XD-RCDepth's are not stated in our sources


class DASPP(nn.Module):
    """Context at several scales: every branch sees the input and all branches of lower rate.

    Full (BTS, Lee et al. 2019): 1x1 to twice `width`, then a dilated 3x3 to `width`; a 3x3 joins the branches.
    Point-wise (XD-RCDepth's, of which our sources have the name alone): between the two 1x1 convolutions the dilated
    one is depthwise, and a 1x1 joins; no 3x3 product over channels is left.
    """

    width: int  # channels of a branch
    out: int
    norm: partial
    pointwise: bool
    rates: tuple[int, ...] = RATES
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        seen = [x]
        for rate in self.rates:
            y = ConvNorm(2 * self.width, 1, self.norm, dtype=self.dtype, name=f"in_{rate}")(
                jnp.concatenate(seen, -1)
            )
            if self.pointwise:
                y = Depthwise(dilation=rate, dtype=self.dtype, name=f"dilated_{rate}")(y)
                y = nn.relu6(self.norm(name=f"dilated_bn_{rate}")(y))
                y = nn.Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype, name=f"out_{rate}")(y)
            else:
                y = nn.Conv(
                    self.width, (3, 3), padding=rate, kernel_dilation=rate, use_bias=False, dtype=self.dtype,
                    name=f"dilated_{rate}",
                )(y)  # fmt: skip
            seen.append(y)
        joined = jnp.concatenate(seen, axis=-1)
        return ConvNorm(self.out, 1 if self.pointwise else 3, self.norm, dtype=self.dtype, name="joined")(
            joined
        )
