"""Recipes, such as 'release' in configs/ade20k.py:release,resnet101.

Each recipe is a function that changes a configuration, a `ConfigDict`, in place.
"""

import difflib
from functools import partial

from encnet_jax.errors import UserError
from encnet_jax.models import BACKBONES, HEADS


def paper(config) -> None:
    """Selects EncNet as described in the text of the paper.

    Unlike the authors' code, this network sums the encodings over the codewords instead
    of averaging them, and adds no skip connection around the channel attention.
    """
    config.architecture = "paper"


def release_2018(config) -> None:
    """Applies the settings of the authors' code of September 2018 (commit f891919).

    The published models were trained with this code. A scale of 1 resizes the short
    side of an image to data.augment.base_size pixels. Images are blurred with
    probability 1/2 and not rotated. The auxiliary head is an FCN, and the learning rate
    of the heads is ten times that of the backbone.
    """
    config.architecture = "release"
    augment = config.data.augment
    augment.scale_relative_to = "short_side"
    augment.antialias = True
    augment.rotate_degrees = 0.0
    augment.blur_probability = 0.5


def release_head(config) -> None:
    """Applies the settings of the authors' latest code.

    This is `release_2018`, except that a scale of 1 resizes the long side of an image
    to data.augment.base_size pixels, and that images are not blurred.
    """
    release_2018(config)
    config.data.augment.scale_relative_to = "long_side"
    config.data.augment.blur_probability = 0.0


def pascal_release_2018(config) -> None:
    """Applies `release_2018` and adds the lateral connections of the PASCAL models."""
    release_2018(config)
    config.model.lateral = True


def pascal_release_head(config) -> None:
    """Applies `release_head` and adds the lateral connections of the PASCAL models."""
    release_head(config)
    config.model.lateral = True


def mmseg(config) -> None:
    """Selects the architecture that mmsegmentation's ResNet-v1c weights require."""
    config.architecture = "mmseg"


def piecewise_crf(config) -> None:
    """Selects the model 'piecewise_crf' and its training settings.

    The scales (0.7 to 1.2) and the mirroring follow the paper. The weight decay is that
    of another reimplementation. The learning rate is unchanged, because the paper does
    not report one.
    """
    config.model.name = "piecewise_crf"
    config.model.output_stride = 16
    augment = config.data.augment
    augment.scales = ()
    augment.scale_min, augment.scale_max = 0.7, 1.2
    augment.rotate_degrees = 0.0
    config.optim.weight_decay = 5e-4


def refine(config) -> None:
    """Adds refinement layers, with 16 channels, to the model 'piecewise_crf'.

    The layers compute class scores at the image's resolution from the CRF's scores,
    early feature maps and the image. List this recipe last: `piecewise_crf,refine`. The
    number of channels is our choice.
    """
    config.model.crf.refine = 16


def refine_only(config) -> None:
    """Trains only the refinement layers of the model 'piecewise_crf'.

    `init_from` must select the weights of a trained CRF.
    """
    refine(config)
    config.init_skip = "refinement"
    config.train.freeze = "coarse"
    config.loss.unary_weight = config.loss.pairwise_weight = 0.0


def strong(config) -> None:
    """Applies training settings that improve the scores of a network.

    Doubles the number of epochs, the batch size and the learning rate; list 'strong'
    last, because other recipes may set these fields. Adds a warm-up and moving averages
    of the weights. Norms and biases are not decayed. Colours are augmented; this can
    lower scores if classes differ in colour (docs/learning.md).

    Raises:
        UserError: the configuration is for classification.
    """
    if config.task != "segmentation":
        raise UserError(
            "'strong' is only for segmentation: remove it, or use 'modern' with"
            " configs/imagenet.py"
        )
    config.train.epochs *= 2
    config.train.batch_size *= 2
    optim, augment = config.optim, config.data.augment
    optim.base_lr *= 2
    optim.warmup_steps = 100
    optim.ema_decay = 0.999
    optim.decay_norm_and_bias = False
    augment.brightness = augment.contrast = augment.saturation = 0.3
    augment.hue = 0.05


def tiny(config) -> None:
    """Selects a small network (0.3 M parameters) for CPUs and tests."""
    config.init_from = ""  # No weights of this size are published.
    model = config.model
    model.backbone = "tiny"
    model.stem_width = 8
    model.head_channels = 64
    model.aux_channels = 32
    model.crf.hidden_channels = 32


def smoke(config) -> None:
    """Configures four steps of a tiny network on generated data, as a quick test."""
    tiny(config)
    config.data.name = "scenes"
    config.data.train_split = "train"
    config.data.val_split = config.data.val_split and "val"
    config.data.reader = "arrays"
    config.data.crop_size = 64
    config.data.input_scale = 1.0
    config.train.batch_size = 8
    config.train.total_steps = 4
    config.train.max_minutes = 0.0
    config.train.log_every_steps = 2
    config.eval.max_images = 8


def _set_model(config, **fields) -> None:
    config.model.update(fields)


RECIPES = {
    "paper": paper,
    "release": release_2018,
    "release_2018": release_2018,
    "release_head": release_head,
    "mmseg": mmseg,
    "piecewise_crf": piecewise_crf,
    "refine": refine,
    "refine_only": refine_only,
    "strong": strong,
    "tiny": tiny,
    "smoke": smoke,
}


def apply(config, arguments: str, own: dict | None = None):
    """Applies recipes and selects models and backbones, in the order of `arguments`.

    Args:
        config: changed in place.
        arguments: comma-separated names of recipes, models or backbones.
        own: recipes of the configuration file: name -> function(config). They override
            recipes of this module that have the same name.

    Returns:
        `config` itself.

    Raises:
        UserError: a name is unknown.
    """
    heads = {name: partial(_set_model, name=name) for name in HEADS}
    backbones = {name: partial(_set_model, backbone=name) for name in BACKBONES}
    words = {**heads, **backbones, **RECIPES, **(own or {})}  # `tiny` is a recipe.
    for word in filter(None, arguments.split(",")):
        if word not in words:
            known = ", ".join(sorted(words))
            near = difflib.get_close_matches(word, words, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(
                f"unknown argument {word!r}; expected one of: {known}{hint}"
            )
        words[word](config)
    return config
