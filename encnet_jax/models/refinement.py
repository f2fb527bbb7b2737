"""Refines coarse class scores to the image's resolution, with learned layers.

Source: the last step of Lin, Shen, van den Hengel and Reid, CVPR 2016. The paper does
not report the number of convolutions and channels; the choices here are ours.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.layers import Layers
from encnet_jax.models.resize import (
    apply_rows_and_columns,
    interpolation_matrix,
    resize_bilinear,
)

# Weight of the uniform distribution that is mixed into the coarse probabilities. Mean
# field can make them so certain that the layers could not correct a wrong class.
UNIFORM_SHARE = 0.1


class Refined(NamedTuple):
    """Arrays from which refined scores are computed on demand, to save memory.

    The refined scores are

        upsampled + features @ kernel + bias

    where `upsampled` are the coarse scores, resized bilinearly to the H x W pixels of
    the image.

    Attributes:
        coarse: f32[B, h, w, K], coarse scores of K classes.
        features: [B, H, W, C], features at the image's resolution.
        kernel: f32[C, K], weights of the classifier.
        bias: f32[K], biases of the classifier.
    """

    coarse: jax.Array
    features: jax.Array
    kernel: jax.Array
    bias: jax.Array

    def scores(
        self,
        rows: jax.Array | np.ndarray,
        columns: jax.Array | np.ndarray,
        features: jax.Array,
    ) -> jax.Array:
        """Returns the refined scores f32[B, R, W, K] of R rows of pixels.

        Args:
            rows: f32[R, h], matrix that interpolates the rows of `coarse` to R rows of
                pixels.
            columns: f32[W, w], matrix that interpolates the columns of `coarse` to W
                columns of pixels.
            features: [B, R, W, C], the R rows of `self.features`.
        """
        x = apply_rows_and_columns(self.coarse, jnp.asarray(rows), jnp.asarray(columns))
        features = features.astype(jnp.float32)
        x += jnp.einsum("brwc,ck->brwk", features, self.kernel, precision="high")
        return x + self.bias.reshape(1, 1, 1, -1)

    def whole(self, align_corners: bool) -> jax.Array:
        """Returns the refined scores f32[B, H, W, K] of all pixels.

        Args:
            align_corners: see resize.interpolation_matrix.
        """
        rows, columns = (
            interpolation_matrix(self.features.shape[i], side, align_corners)
            for i, side in enumerate(self.coarse.shape[1:3], 1)
        )
        return self.scores(rows, columns, self.features)


class Refinement(nn.Module):
    """Combines early features, the image and the coarse scores with convolutions.

    Every input passes through a 3x3 and a 1x1 convolution at the resolution of the
    input. The results are upsampled to the image's resolution and added; a 3x3
    convolution and a linear classifier follow. Concatenating the results instead of
    adding them would take more memory.

    The coarse probabilities are mixed with the uniform distribution, whose weight is
    UNIFORM_SHARE. The logarithm of the mixture is upsampled and added to the
    classifier's output.

    Attributes:
        num_classes: K, number of classes.
        channels: C, output channels of each convolution.
        align_corners: see resize.interpolation_matrix.

    Params: for every input, NAME/conv, NAME/norm and NAME_join, where NAME is 'coarse',
    'image' or the name of a feature map; for the sum, joined_norm, last/conv and
    last/norm; for the classifier, kernel f32[C, K] and bias f32[K].
    """

    num_classes: int
    channels: int
    layers: Layers
    align_corners: bool = True

    @nn.compact
    def __call__(
        self, log_q: jax.Array, features: Mapping[str, jax.Array], images: jax.Array
    ) -> Refined:
        """Returns the arrays from which the refined scores are computed.

        Args:
            log_q: f32[B, h, w, K], logarithms of the coarse probabilities.
            features: {name: early feature map [B, h_i, w_i, C_i] of the backbone}.
            images: f32[B, H, W, 3], normalised images.
        """
        inputs = {"coarse": jnp.exp(log_q), **features, "image": images}
        height, width = images.shape[1:3]
        parts = []
        for name, x in inputs.items():
            x = self.layers.unit(self.channels, name=name)(x)
            x = self.layers.conv(self.channels, 1, name=f"{name}_join")(x)
            parts.append(resize_bilinear(x, height, width, self.align_corners))
        x = nn.relu(
            self.layers.norm(name="joined_norm")(functools.reduce(jnp.add, parts))
        )
        x = self.layers.unit(self.channels, name="last")(x)
        shape = (self.channels, self.num_classes)
        share = UNIFORM_SHARE
        mixed = (1 - share) * inputs["coarse"] + share / self.num_classes
        return Refined(
            coarse=jnp.log(mixed),
            features=x,
            # With small initial weights, refinement starts as bilinear upsampling.
            kernel=self.param(
                "kernel", nn.initializers.normal(0.01), shape, jnp.float32
            ),
            bias=self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32),
        )
