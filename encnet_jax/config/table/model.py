"""Section `model`: the network."""

import dataclasses
from typing import TYPE_CHECKING, Any

from encnet_jax.fields import (
    COUNT,
    FLAG,
    Allowed,
    Section,
    above,
    at_least,
    between,
    field,
    one_of,
)
from encnet_jax.models import AUX_HEADS, BACKBONES, CLASSIFIERS, HEADS
from encnet_jax.preprocess import PIXELS

_CHANNELS = between(1, 1 << 14)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The network."""

    name: str = field(
        "encnet",
        lambda: one_of(*dict.fromkeys((*HEADS, *CLASSIFIERS, "backbone"))),
        "The head; for classification, the network: 'resnet', 'se_resnet' or 'encnet'"
        " for 32x32 pixels, or 'backbone' (model.backbone and a linear layer).",
    )
    backbone: str = field("resnet50", lambda: one_of(*BACKBONES), "The backbone.")
    output_stride: int = field(
        8,
        one_of(8, 16, 32),
        "Distance between neighbouring positions of the last feature map, in image"
        " pixels.",
    )
    dilation: str = field(
        "plain",
        Allowed(  # The backbone determines which rates are valid.
            "a name such as hdc_bigger, or rates such as '1,2,5/5,9,17'",
            lambda x: isinstance(x, (str, tuple, list)),
        ),
        "Dilation rates of the backbone stages that do not reduce the resolution:"
        " 'plain', 'none', 'hdc_rf', 'hdc_bigger', 'hdc_released', or one rate per"
        " block, with '/' between stages: '1,2,5,9,1,2/5,9,17'.",
    )
    num_codes: int = field(
        32,
        between(0, 1 << 16),
        "Number of codewords, K in the paper; 0: global average pooling (Figure 5).",
    )
    width: int = field(64, _CHANNELS, "Classification: channels of the first stage.")
    draw_smoothing: bool = field(
        False,
        FLAG,
        "Classification: smoothing factors of the encoding are drawn randomly during"
        " training, not learned.",
    )
    block: str = field(
        "paper",
        one_of("paper", "authors"),
        "Classification: residual blocks of the paper, or of the authors' code.",
    )
    se_loss: bool = field(
        True, FLAG, "Add the branch that predicts which classes an image contains."
    )
    se_gradient: bool = field(
        True,
        FLAG,
        "True: the SE-losses train all layers below them. False: the SE-losses train"
        " only the layer that predicts which classes an image contains.",
    )
    gate_bias: float = field(
        0.0,
        between(0, 20),
        "Added to the initial biases of EncNet's gate; large values open the gate.",
    )
    dropout: float = field(
        0.1, at_least(0, 1), "Probability of dropping an input of the last convolution."
    )
    norm_group: int = field(
        0,
        COUNT,
        "Number of neighbouring devices that share batch-norm statistics; 0: all.",
    )
    remat: bool = field(
        False, FLAG, "Recompute residual blocks in the backward pass to save memory."
    )
    dtype: str = field(
        "float32",
        one_of("float32", "bfloat16"),
        "Type of the activations; parameters stay float32.",
    )
    aux_channels: int = field(
        256, _CHANNELS, "Number of hidden channels of the auxiliary head."
    )
    # If the fields below are not set, published weights (init_from) and the
    # architecture determine them.
    stem: str = field(
        None,
        one_of("deep", "conv7"),
        "First layers: three 3x3 convolutions ('deep'), or one 7x7 ('conv7').",
    )
    avg_down: bool = field(
        None, FLAG, "Apply average pooling before the 1x1 shortcuts (ResNet-D)."
    )
    stem_width: int = field(
        None,
        _CHANNELS,
        "Channels of the stem's first convolution; the last convolution of a deep stem"
        " has twice this number.",
    )
    stride_first: bool = field(
        None,
        FLAG,
        "Bottleneck blocks have their stride in the first 1x1 convolution, not in the"
        " 3x3 convolution.",
    )
    padded_pool: bool = field(None, FLAG, "Pad the input of the stem's max pooling.")
    norm_epsilon: float = field(
        None, above(0, 1), "Added to the variance in batch norms."
    )
    frozen_norm: bool = field(
        None,
        FLAG,
        "Batch norms keep their initial running statistics; only scales and biases are"
        " trained.",
    )
    pixels: str = field(
        None,
        one_of(*PIXELS),
        "Normalisation of pixels. 'unit': scale to [0, 1], subtract the mean and divide"
        " by the standard deviation; 'mean': only subtract the mean, in 0 to 255.",
    )
    align_corners: bool = field(
        None, FLAG, "Upsampling aligns the centres of the corner pixels."
    )
    head_channels: int = field(
        None, _CHANNELS, "Number of hidden channels of the head."
    )
    code_pooling: str = field(
        None, one_of("sum", "mean"), "Pooling of ReLU(BN(e_k)) over the codewords k."
    )
    gate: str = field(
        None,
        one_of("scale", "residual"),
        "Output of EncNet's gate for features x and factors s in (0, 1): 'scale' is"
        " x * s; 'residual' is relu(x + x * s).",
    )
    aux: str = field(
        None,
        lambda: one_of(*AUX_HEADS, "none"),
        "Auxiliary head on stage 3, or 'none'.",
    )
    lateral: bool = field(
        None, FLAG, "Lateral connections: fuse stages 2 and 3 into EncNet's head."
    )
    head_convs: int = field(
        None, between(0, 100), "Number of 3x3 convolutions of an FCN head."
    )
    mask_padding: bool = field(
        None,
        FLAG,
        "In evaluation, exclude the padding around images from pooling and encoding.",
    )
    reference_positions: int = field(
        None,
        COUNT,
        "Number of positions in the feature map of a training crop; codes, which are"
        " sums over positions, are rescaled to this number. 0: codes are not rescaled.",
    )
    head_concat_input: bool = field(
        None,
        FLAG,
        "FCN head: concatenate input and output of the 3x3 convolutions. DeepLabV3"
        " head: the 3x3 convolution after the branches reads their concatenation"
        " without a projection.",
    )
    if TYPE_CHECKING:  # Declared by the heads 'duc' and 'piecewise_crf'.
        duc: Any = None
        crf: Any = None
