"""Batch normalisation with statistics over all devices or over groups of devices."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from encnet_jax.errors import UserError

STATISTICS_NAME = "bn_stats"  # Rematerialisation policies save this by name.


@dataclass(frozen=True)
class GroupedAxis:
    """A pmap axis on which groups of neighbouring devices share statistics.

    Attributes:
        name: name of the pmap axis.
        group: number of neighbouring devices that share statistics; 0 for all devices.
    """

    name: str
    group: int


def device_groups(axis_size: int, group: int) -> list[list[int]] | None:
    """Returns the device indices of each group; None if there is only one group.

    Args:
        axis_size: number of devices on the pmap axis.
        group: number of devices in a group; 0 for all.

    Raises:
        ValueError: axis_size is not a multiple of `group`.
    """
    if group in (0, axis_size):
        return None
    if group < 0 or axis_size % group:
        raise ValueError(
            f"{axis_size} devices cannot be divided into groups of {group}; expected a"
            f" group size that divides {axis_size}, or 0 for a single group"
        )
    return [list(range(i, i + group)) for i in range(0, axis_size, group)]


def check_several_values(
    x: jax.Array,
    feature_axis: int,
    axis_name: str | GroupedAxis | None,
    path: tuple[str, ...],
) -> None:
    """Checks that batch statistics are computed from more than one value per channel.

    With a single value, the output of the batch norm would not depend on x.

    Args:
        x: [..., C, ...], the values on one device.
        feature_axis: index of the channel axis.
        axis_name: see SyncBatchNorm.
        path: names of the enclosing modules and of the batch norm, for the error
            message.

    Raises:
        UserError: there is only one value per channel.
    """
    devices = 1
    if axis_name is not None:
        name, group = (
            (axis_name, 0)
            if isinstance(axis_name, str)
            else (axis_name.name, axis_name.group)
        )
        devices = group or jax.lax.axis_size(name)
    if devices * x.size == x.shape[feature_axis]:
        raise UserError(
            f"the batch norm {'/'.join(path)} gets only one value per channel, so its"
            " output would be constant; expected at least two values per channel: raise"
            " train.batch_size, lower train.accumulate, set model.norm_group to 0 (all"
            " devices), raise data.crop_size if the feature map has one position, or"
            " set model.frozen_norm to keep pre-trained statistics"
        )


def _mean_over(moments: jax.Array, axis: str | GroupedAxis) -> jax.Array:
    name, group = (axis, 0) if isinstance(axis, str) else (axis.name, axis.group)
    if group == 1:
        return moments  # A collective over one device would still cost time.
    groups = device_groups(jax.lax.axis_size(name), group)
    return jax.lax.pmean(moments, name, axis_index_groups=groups)


def batch_moments(
    x: jax.Array, reduce_axes: tuple[int, ...], axis_name: str | GroupedAxis | None
) -> jax.Array:
    """Returns each channel's mean and mean of squares, averaged over devices.

    The mean and the mean of squares are stacked in one array, so that the forward pass
    needs only one collective, and the backward pass another. Every device must have the
    same number of examples.

    Args:
        x: [..., C, ...], any float dtype.
        reduce_axes: the axes of x to average over: all except the channel axis.
        axis_name: pmap axis: averages over all devices; GroupedAxis: averages over the
            devices of each group; None: does not average over devices.

    Returns:
        f32[2, C]; row 0 contains the means, row 1 the means of squares.

    Source: appendix A, equation 2, of the paper.
    """
    x = x.astype(jnp.float32)  # Sums in bfloat16 are too inaccurate.
    moments = jnp.stack([jnp.mean(x, reduce_axes), jnp.mean(x * x, reduce_axes)])
    if axis_name is not None:
        moments = _mean_over(moments, axis_name)
    # Rematerialisation keeps arrays with this name. Otherwise it would repeat the
    # collective in the backward pass.
    return checkpoint_name(moments, STATISTICS_NAME)


class SyncBatchNorm(nn.Module):
    """Batch normalisation, synchronised over a pmap axis.

    Attributes:
        axis_name: pmap axis: all devices share statistics; GroupedAxis: the devices of
            each group share statistics, and running statistics differ between groups
            until the training step averages them; None: there is one device.
        feature_axis: index of the channel axis; each channel is normalised separately.
        momentum: weight of the old running statistics.
        epsilon: added to the variance.
        dtype: dtype of the output; statistics are always float32.
        train: whether to use batch statistics; None: each call must pass `train`.

    Collections: params `scale`, `bias` f32[C]; batch_stats `mean`, `var` f32[C]. The
    running variance is biased, as in the authors' latest code; the authors' code of
    September 2018 stored the unbiased variance. After `folding.fold_batch_norms`, the
    module only adds `bias`.

    Source: appendix A of the paper.
    """

    axis_name: str | GroupedAxis | None = None
    feature_axis: int = -1
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    train: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool | None = None) -> jax.Array:
        """Normalises x by batch statistics if `train`, else by running statistics.

        Raises:
            ValueError: `train` is given both as an argument and as an attribute, or as
                neither.
            UserError: in training, x has only one value per channel.
        """
        train = nn.merge_param("train", self.train, train)
        feature_axis = self.feature_axis % x.ndim
        shape = (x.shape[feature_axis],)
        broadcast = [1] * x.ndim
        broadcast[feature_axis] = shape[0]
        folded = self.has_variable("params", "bias") and not self.has_variable(
            "params", "scale"
        )
        if folded and not train:
            folded_bias = self.variables["params"]["bias"].reshape(broadcast)
            return (x.astype(jnp.float32) + folded_bias).astype(self.dtype)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, shape, jnp.float32
        )
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if train:
            reduce_axes = tuple(i for i in range(x.ndim) if i != feature_axis)
            # Parameters are initialised outside of pmap, where the axis does not exist.
            axis_name = None if self.is_initializing() else self.axis_name
            if not self.is_initializing():
                check_several_values(x, feature_axis, axis_name, self.path)
            mean, mean_of_squares = batch_moments(x, reduce_axes, axis_name)
            # Rounding can make a tiny variance negative, and its root NaN.
            var = jnp.maximum(mean_of_squares - mean * mean, 0.0)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        offset = bias - mean * factor
        y = x.astype(jnp.float32) * factor.reshape(broadcast) + offset.reshape(
            broadcast
        )
        return y.astype(self.dtype)
