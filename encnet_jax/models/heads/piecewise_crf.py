"""A network that computes the potentials of a CRF and infers its marginals.

The backbone processes the image at several scales; small networks compute unary and
pairwise scores from the concatenated feature maps. The CRF has one node for each
position of the largest feature map.

Source: Lin, Shen, van den Hengel and Reid, "Efficient Piecewise Training of Deep
Structured Models for Semantic Segmentation", CVPR 2016. The paper's backbone is VGG-16.
All scales share the weights of the backbone's stages 1 to 3 (VGG-16: blocks 1 to 5).
Each scale has its own weights of stage 4 (VGG-16: the first fully connected layer, as a
7x7 convolution) and of the 3x3 convolution after the backbone.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.crf import mean_field, potentials, pyramid
from encnet_jax.errors import UserError
from encnet_jax.fields import Field, above, between, one_of
from encnet_jax.models.backbones import feature_info
from encnet_jax.models.heads import HEADS
from encnet_jax.models.layers import Layers
from encnet_jax.models.norm import GroupedAxis
from encnet_jax.models.refinement import Refinement
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.models.segmenter import network_layers, shared_fields

# Value of model.crf.features, a row of the paper's ablation -> scales of the image, and
# windows of the sliding maxima.
FEATURES = {
    "plain": ((1.0,), ()),
    "pyramid": ((1.0,), pyramid.WINDOWS),
    "scales": ((1.2, 0.8, 0.4), pyramid.WINDOWS),
}
PAIRWISE = {
    "none": (),
    **{relation: (relation,) for relation in potentials.RELATIONS},
    "both": potentials.RELATIONS,
}


def scaled_side(side: int, scale: float) -> int:
    """Returns the height or width of a resized image, in pixels, rounded up."""
    # The tolerance: in floating point, 1.2 * 35 is 42.00000000000001.
    return math.ceil(side * scale - 1e-6)


def node_side(side: int, model_config) -> int:
    """Returns the number of CRF nodes along one axis of an image.

    Args:
        side: height or width of the image in pixels.
        model_config: `config.model` after `encnet_jax.config.resolve`.
    """
    scales, _ = FEATURES[model_config.crf.features]
    return -(-scaled_side(side, scales[0]) // model_config.output_stride)


def _dense_init(gain: float):
    return nn.initializers.variance_scaling(gain, "fan_in", "normal")


class PairwiseHead(nn.Module):
    """The layers of a pairwise network that process each node of the CRF separately.

    There is one pairwise network for each spatial relation, such as 'surrounding'.

    Attributes:
        num_classes: K, number of classes.
        channels: C, number of hidden units.

    Params, in the notation of potentials.PairwiseNet: p/kernel (W_a) and q/kernel (W_b)
    f32[C_in, C]; p/bias (b1) f32[C]; kernel (W2) f32[C, K * K]; bias (b2) f32[K * K].
    """

    num_classes: int
    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> potentials.PairwiseNet:
        """Maps node features [B, h, w, C_in] to the arrays of a pairwise network."""
        # Half of He's gain of 2, because two outputs are added before the ReLU.
        shared = {"kernel_init": _dense_init(1.0), "dtype": self.dtype}
        num_outputs = self.num_classes**2
        return potentials.PairwiseNet(
            from_p=nn.Dense(self.channels, name="p", **shared)(x),
            from_q=nn.Dense(self.channels, use_bias=False, name="q", **shared)(x),
            kernel=self.param(
                "kernel",
                nn.initializers.normal(0.01),
                (self.channels, num_outputs),
                jnp.float32,
            ),
            bias=self.param("bias", nn.initializers.zeros, (num_outputs,), jnp.float32),
        )


class PotentialsHead(nn.Module):
    """Applies the unary and pairwise networks to the feature maps of all scales.

    Attributes:
        num_classes: K, number of classes.
        channels: channels of the 3x3 convolution of each scale.
        hidden_channels: hidden units of the unary and the pairwise networks.
        windows: sizes of sliding windows, such as 5 for 5x5. The maxima over each
            window are concatenated to the feature map.
        relations: names of the spatial relations, from potentials.RELATIONS; each has
            a separate pairwise network.
        dropout: dropout rate of the unary network's hidden units.
        align_corners: see resize.interpolation_matrix.
    """

    num_classes: int
    layers: Layers
    channels: int = 512
    hidden_channels: int = 512
    windows: tuple[int, ...] = pyramid.WINDOWS
    relations: tuple[str, ...] = potentials.RELATIONS
    dropout: float = 0.1
    align_corners: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array]
    ) -> tuple[jax.Array, dict[str, potentials.PairwiseNet]]:
        """Computes the unary scores, and arrays that determine the pairwise scores.

        Args:
            maps: feature map [B, h_i, w_i, C] of each scale, largest first.

        Returns:
            unary: f32[B, h_0, w_0, K], the unary scores of the nodes.
            pairwise: {relation: potentials.PairwiseNet}, the arrays from which the
                scores of pairs of nodes are computed.
        """
        height, width = maps[0].shape[1:3]
        joined = []
        for i, x in enumerate(maps, 1):
            x = self.layers.unit(self.channels, name=f"scale{i}")(x)
            x = pyramid.sliding_maxima(x, self.windows)
            joined.append(resize_bilinear(x, height, width, self.align_corners))
        x = jnp.concatenate(joined, axis=-1)
        unary = self._unary(x)
        pairwise = {
            name: PairwiseHead(
                self.num_classes, self.hidden_channels, self.dtype, name=name
            )(x)
            for name in self.relations
        }
        return unary, pairwise

    def _unary(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(
            self.hidden_channels,
            kernel_init=_dense_init(2.0),
            dtype=self.dtype,
            name="unary_hidden",
        )(x)
        x = self.layers.dropout(self.dropout)(nn.relu(x))
        x = nn.Dense(
            self.num_classes,
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.dtype,
            name="classifier",
        )(x)
        return x.astype(jnp.float32)


class PiecewiseCRF(nn.Module):
    """A network that returns CRF potentials in training and marginals in evaluation.

    The marginals are computed from the potentials by mean-field inference.

    Attributes:
        backbone: constructor of the backbone, called with `layers` and `name`; the
            backbone maps images to a dict of feature maps.
        head: constructor of a PotentialsHead, called with `layers`, `dtype` and `name`.
        scales: factors by which the image is resized, largest first.
        output_stride: output stride of the backbone.
        box: size of the square that contains a node's neighbours, as a fraction of the
            feature map's height or width, whichever is smaller; see
            potentials.neighbour_offsets.
        num_updates: number of mean-field updates.
        max_score_mib: memory limit for pairwise scores in MiB; see
            potentials.bounded_schedule.
        refine: channels of the refinement layers; 0 for no refinement.
        features: names of the feature maps that the refinement layers use.
        align_corners: see Refinement.
        freeze_coarse: whether only the refinement layers are trained; all other layers
            run in evaluation mode.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.
        norm_epsilon, frozen_norm: see layers.make_layers.
        dtype: dtype of the computation.
    """

    backbone: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    scales: tuple[float, ...] = (1.2, 0.8, 0.4)
    output_stride: int = 16
    box: float = 0.4
    num_updates: int = mean_field.NUM_UPDATES
    max_score_mib: float = 256.0
    refine: int = 0
    features: tuple[str, ...] = ()
    align_corners: bool = True
    freeze_coarse: bool = False
    axis_name: str | GroupedAxis | None = None
    norm_epsilon: float = 1e-5
    frozen_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use batch statistics, dropout is on, and the
                potentials are returned instead of marginals.

        Returns:
            In training, a dict of
                'logits': f32[B, h, w, K], unary scores of the nodes.
                'pairwise': {relation: potentials.PairwiseNet}.
                'refined': refinement.Refined, only with refinement layers. Its gradient
                    does not reach the potentials.
            In evaluation, a dict of
                'logits': f32[B, h, w, K], logarithms of the nodes' marginals; or with
                    refinement layers, f32[B, H, W, K], refined scores of the pixels.

        Raises:
            UserError: the image is too small for the smallest scale, or the pairwise
                scores of one row of nodes exceed `max_score_mib`.
        """
        self._check_size(*images.shape[1:3])
        layers = network_layers(self, train and not self.freeze_coarse)
        backbone = self.backbone(layers=layers, name="backbone")
        stages: list[dict[str, jax.Array]] = []
        for i, scale in enumerate(self.scales):
            # Stage 4 of the first scale has the same name as in the plain backbone.
            branch = f"scale{i + 1}_" if i else ""
            x = _rescaled(images, scale).astype(self.dtype)
            stages.append(backbone(x, branch))
        head = self.head(layers=layers, dtype=self.dtype, name="head")
        unary, pairwise = head([each["stage4"] for each in stages])
        early = {name: stages[0][name] for name in self.features}
        if self.freeze_coarse:
            unary, pairwise, early = jax.lax.stop_gradient((unary, pairwise, early))
        outputs = {"logits": unary, "pairwise": pairwise}
        if train and not self.refine:
            return outputs
        log_q = self._marginals(*jax.lax.stop_gradient((unary, pairwise)))
        if not self.refine:
            return {"logits": log_q}
        refinement = Refinement(
            unary.shape[-1],
            self.refine,
            network_layers(self, train),
            self.align_corners,
            name="refinement",
        )
        refined = refinement(log_q, early, images)
        if train:
            return outputs | {"refined": refined}
        return {"logits": refined.whole(self.align_corners)}

    def _marginals(self, unary: jax.Array, pairwise: dict) -> jax.Array:
        """Returns the logarithms of the mean-field marginals, f32[B, h, w, K]."""
        pairs = [
            potentials.relation_pairs(name, net, self.box, self.max_score_mib)
            for name, net in pairwise.items()
        ]
        return mean_field.log_marginals(unary, pairs, self.num_updates)

    def _check_size(self, height: int, width: int) -> None:
        scale = min(self.scales)
        smallest = math.ceil(self.output_stride / scale)
        if min(height, width) < smallest:
            raise UserError(
                f"an image of {height}x{width} pixels is too small for the CRF at scale"
                f" {scale:g}; expected a height and width of at least {smallest}"
                " pixels, the size of one node: raise data.crop_size or eval.bucket, or"
                " replace model.crf.features 'scales' by 'pyramid', which does not"
                " resize images"
            )


def _rescaled(images: jax.Array, scale: float) -> jax.Array:
    """Resizes images f32[B, H, W, 3]; antialiased if `scale` is below 1."""
    batch, height, width, channels = images.shape
    sides = scaled_side(height, scale), scaled_side(width, scale)
    if sides == (height, width):
        return images
    return jax.image.resize(images, (batch, *sides, channels), "linear")


@HEADS.register(
    "piecewise_crf",
    fields={
        "model.crf.features": Field(
            "scales",
            one_of("plain", "pyramid", "scales"),
            "Feature maps of the CRF. 'plain': one scale; 'pyramid': one scale and its"
            " sliding maxima; 'scales': 'pyramid' at scales 1.2, 0.8 and 0.4 of the"
            " image.",
        ),
        "model.crf.pairwise": Field(
            "both",
            one_of("none", "surrounding", "above_below", "both"),
            "Spatial relations for which pairs of nodes are scored.",
        ),
        "model.crf.box": Field(
            0.4,
            above(0, 1),
            "Height and width of the square box that contains a node's neighbours, as a"
            " fraction of the shorter side of the feature map.",
        ),
        "model.crf.hidden_channels": Field(
            512, between(1, 1 << 14), "Channels of the unary and pairwise networks."
        ),
        "model.crf.num_updates": Field(
            3, between(0, 1000), "Number of mean-field updates in evaluation."
        ),
        "model.crf.max_score_mib": Field(
            256.0,
            above(0, 1 << 20),
            "Memory limit for the pairwise scores (K x K per pair) that are computed at"
            " a time, in MiB.",
        ),
        "model.crf.refine": Field(
            0,
            between(0, 1024),
            "Channels of the refinement layers, which compute scores at the image's"
            " resolution from coarse scores, early features and the image; 0: no"
            " refinement layers.",
        ),
    },
    # With 'scales', the nodes belong to the image enlarged by 1.2.
    logits_stride=lambda m: (
        1
        if m.crf.refine
        else m.output_stride / (1.2 if m.crf.features == "scales" else 1)
    ),
    # Scales and boxes refer to the whole padded image, so padding cannot be masked.
    decides={"model.aux": "none", "model.mask_padding": False},
    loss_terms=("unary", "pairwise", "refined"),
    network="encnet_jax.models.heads.piecewise_crf:build_network",
)
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of a PotentialsHead for `config.model`."""
    _, windows = FEATURES[m.crf.features]
    return partial(
        PotentialsHead,
        num_classes,
        channels=m.head_channels,
        hidden_channels=m.crf.hidden_channels,
        windows=windows,
        relations=PAIRWISE[m.crf.pairwise],
        dropout=m.dropout,
        align_corners=m.align_corners,
    )


def build_network(m, backbone, head, aux_head, axis_name) -> PiecewiseCRF:
    """Builds a PiecewiseCRF; `models.build` calls this function.

    Args:
        m: section `model` of the resolved configuration.
        backbone, head: constructors; see PiecewiseCRF.
        aux_head: ignored, because this network has no auxiliary head.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.
    """
    scales, _ = FEATURES[m.crf.features]
    return PiecewiseCRF(
        backbone,
        head,
        scales=scales,
        output_stride=m.output_stride,
        box=m.crf.box,
        num_updates=m.crf.num_updates,
        max_score_mib=m.crf.max_score_mib,
        refine=m.crf.refine,
        # VGG-16: blocks 1 to 5; other backbones: all four stages.
        features=tuple(feature_info(m))[:5],
        align_corners=m.align_corners,
        **shared_fields(m, axis_name),
    )
