"""Batch normalisation with separate statistics on each device, as in PyTorch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.norm import check_several_values


class DeviceBatchNorm(nn.Module):
    """Batch normalisation in which each device uses statistics of its own images.

    Attributes:
        axis_name: pmap axis over which running statistics are averaged, so that they
            are equal on all devices; None for one device.
        momentum: weight of the old running statistics.
        epsilon: added to the variance.
        dtype: dtype of the output; statistics are float32 or wider.

    Collections: params `scale`, `bias` f32[C]; batch_stats `mean`, `var` f32[C].

    Source: torch.nn.BatchNorm2d under DataParallel, before PyTorch 1.2. As there,
    scales are initialised from U(0, 1), and the running variance is unbiased.
    DataParallel keeps the running statistics of the first GPU; this class keeps the
    mean over devices.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalises x by batch statistics if `train`, else by running statistics.

        Args:
            x: [..., C].
            train: whether to use batch statistics and update running statistics.
        """
        shape = (x.shape[-1],)

        def broadcast(values):
            return values.reshape((1,) * (x.ndim - 1) + shape)

        scale = self.param("scale", nn.initializers.uniform(1.0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, shape, jnp.float32
        )
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if train:
            wide = x.astype(np.promote_types(x.dtype, np.float32))
            mean = jnp.mean(wide, tuple(range(x.ndim - 1)))
            var = jnp.mean((wide - broadcast(mean)) ** 2, tuple(range(x.ndim - 1)))
            if not self.is_initializing():
                check_several_values(x, x.ndim - 1, None, self.path)
                self._keep(running_mean, running_var, mean, var, x.size // shape[0])
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        y = x.astype(factor.dtype) * broadcast(factor)
        return (y + broadcast(bias - mean * factor)).astype(self.dtype)

    def _keep(self, running_mean, running_var, mean, var, count: int) -> None:
        """Updates the running statistics from `count` values per channel."""
        new = jnp.stack([mean, var * (count / max(count - 1, 1))])
        if self.axis_name is not None:
            new = jax.lax.pmean(new, self.axis_name)
        keep = self.momentum
        running_mean.value = keep * running_mean.value + (1 - keep) * new[0]
        running_var.value = keep * running_var.value + (1 - keep) * new[1]
