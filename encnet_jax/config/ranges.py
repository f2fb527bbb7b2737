"""What each field of a configuration may be: one table, from which checks are made.

A field that is missing here fails a test, so that none goes unchecked.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from encnet_jax.config.names import (
    ARCHITECTURES,
    BACKBONES,
    CLASSIFIERS,
    CRF_FEATURES,
    CRF_PAIRWISE,
    HEADS,
    PIXELS,
    PROTOCOLS,
)
from encnet_jax.config.training import check_together
from encnet_jax.errors import UserError

_MOST = 2**31 - 1  # Steps and counts are int32 on the devices.


class Allowed(NamedTuple):
    """What a field may be.

    Attributes:
        words: of a value that is wanted, for the error.
        fits: whether a value is; never called with None.
    """

    words: str
    fits: Callable[[Any], bool]


def _is_number(value) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _from(low: float, high: float) -> Allowed:
    """Numbers of [low, high]."""
    return Allowed(f"{low} to {high}", lambda x: _is_number(x) and low <= x <= high)


def _below(low: float, high: float) -> Allowed:
    """Numbers of [low, high)."""
    return Allowed(
        f"{low} or more, less than {high}", lambda x: _is_number(x) and low <= x < high
    )


def _above(low: float, high: float) -> Allowed:
    """Numbers of (low, high]."""
    return Allowed(
        f"more than {low}, at most {high}", lambda x: _is_number(x) and low < x <= high
    )


def _one_of(*values) -> Allowed:
    # True == 1 in Python, and an output stride of True is none.
    return Allowed(
        f"one of: {', '.join(map(str, values))}",
        lambda x: any(type(x) is type(v) and x == v for v in values),
    )


def _several(each: Allowed, words: str, least: int = 0) -> Allowed:
    def fits(values) -> bool:
        listed = isinstance(values, (tuple, list)) and len(values) >= least
        return listed and all(map(each.fits, values))

    return Allowed(words, fits)


def _is_range(value) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return pair and all(map(_is_number, value)) and value[0] < value[1]


_FLAG = Allowed("True or False", lambda x: isinstance(x, bool))
_TEXT = Allowed(
    "a text of one line",
    lambda x: isinstance(x, str) and not {"\n", "\0"} & set(x),
)
_SIDE = _from(16, 1 << 15)  # Pixels.
_COUNT = _from(0, _MOST)
_AT_LEAST_ONE = _from(1, _MOST)
_PROTOCOL = _one_of(*PROTOCOLS)
_THREE = _several(_above(0, 1e6), "three numbers above 0", 3)

ALLOWED = {
    "task": _one_of("segmentation", "classification"),
    "architecture": _one_of(*ARCHITECTURES),
    "seed": _COUNT,
    "init_from": _TEXT,
    "init_skip": _TEXT,
    "profile": _FLAG,
    "data.name": _TEXT,
    "data.data_dir": _TEXT,
    "data.reader": _one_of("tfds", "arrays"),
    "data.train_split": Allowed(
        "a split, such as train", lambda x: _TEXT.fits(x) and x
    ),
    "data.val_split": _TEXT,
    "data.max_unreadable_share": _from(0, 1),
    "data.max_megapixels": _above(0, 1e6),
    "data.max_file_mib": _above(0, 1e9),
    "data.value_range": Allowed(
        "nothing, or two numbers, the lower one first, such as (0, 65535)",
        lambda x: x in ((), []) or _is_range(x),
    ),
    "data.crop_size": _SIDE,
    "data.on_device": _FLAG,
    "data.keep_last_batch": _FLAG,
    "data.channel_std": Allowed(
        "three numbers above 0", lambda x: _THREE.fits(x) and len(x) == 3
    ),
    "data.input_scale": _from(0.02, 50),
    "data.augment.flip": _FLAG,
    "data.augment.scale_min": _from(0.02, 50),
    "data.augment.scale_max": _from(0.02, 50),
    "data.augment.scales": _several(_from(0.02, 50), "scales, each 0.02 to 50"),
    "data.augment.crop_centres": _several(
        _several(_COUNT, "a row and a column", 2), "pairs of a row and a column"
    ),
    "data.augment.crop_jitter": _from(0, 1 << 15),
    "data.augment.scale_relative_to": _one_of("image", "short_side", "long_side"),
    "data.augment.base_size": _SIDE,
    "data.augment.rotate_degrees": _from(0, 180),
    "data.augment.blur_probability": _from(0, 1),
    "data.augment.antialias": _FLAG,
    "data.augment.brightness": _from(0, 1),
    "data.augment.contrast": _from(0, 1),
    "data.augment.saturation": _from(0, 1),
    "data.augment.hue": _from(0, 0.5),
    "data.augment.area_min": _above(0, 1),
    "data.augment.pad": _from(0, 1024),
    "data.folder.images": _TEXT,
    "data.folder.masks": _TEXT,
    "data.folder.class_names": _several(_TEXT, "names of classes"),
    "data.folder.ignore_ids": _several(_from(0, 255), "mask values, each 0 to 255"),
    "data.folder.first_id": _from(0, 255),
    "model.name": _one_of(*dict.fromkeys((*HEADS, *CLASSIFIERS, "backbone"))),
    "model.backbone": _one_of(*BACKBONES),
    "model.stem": _one_of("deep", "conv7"),
    "model.avg_down": _FLAG,
    "model.output_stride": _one_of(8, 16, 32),
    "model.dilation": Allowed(  # The backbone decides which of them fit.
        "a name such as hdc_bigger, or rates such as '1,2,5/5,9,17'",
        lambda x: isinstance(x, (str, tuple, list)),
    ),
    "model.norm_group": _COUNT,
    "model.num_codes": _from(0, 1 << 16),
    "model.width": _from(1, 1 << 14),
    "model.draw_smoothing": _FLAG,
    "model.block": _one_of("paper", "authors"),
    "model.se_loss": _FLAG,
    "model.se_gradient": _FLAG,
    "model.gate_bias": _from(0, 20),
    "model.dropout": _below(0, 1),
    "model.remat": _FLAG,
    "model.dtype": _one_of("float32", "bfloat16"),
    "model.aux_channels": _from(1, 1 << 14),
    "model.duc.cell": _one_of(1, 2, 4),
    "model.duc.rates": _several(_AT_LEAST_ONE, "one or more whole rates above 0", 1),
    "model.crf.features": _one_of(*CRF_FEATURES),
    "model.crf.pairwise": _one_of(*CRF_PAIRWISE),
    "model.crf.box": _above(0, 1),
    "model.crf.hidden_channels": _from(1, 1 << 14),
    "model.crf.num_updates": _from(0, 1000),
    "model.crf.max_score_mib": _above(0, 1 << 20),
    "model.stem_width": _from(1, 1 << 14),
    "model.stride_first": _FLAG,
    "model.padded_pool": _FLAG,
    "model.norm_epsilon": _above(0, 1),
    "model.frozen_norm": _FLAG,
    "model.pixels": _one_of(*PIXELS),
    "model.align_corners": _FLAG,
    "model.head_channels": _from(1, 1 << 14),
    "model.code_pooling": _one_of("sum", "mean"),
    "model.gate": _one_of("scale", "residual"),
    "model.aux": _one_of("context", "fcn", "none"),
    "model.lateral": _FLAG,
    "model.head_convs": _from(0, 100),
    "model.head_concat_input": _FLAG,
    "model.mask_padding": _FLAG,
    "model.reference_positions": _COUNT,
    "loss.se_weight": _from(0, 1e6),
    "loss.aux_weight": _from(0, 1e6),
    "loss.unary_weight": _from(0, 1e6),
    "loss.pairwise_weight": _from(0, 1e6),
    "loss.row_blocks": _from(1, 1 << 15),
    "loss.labels": _one_of("upsampled", "thinned"),
    "loss.class_weighting": _one_of("", "median_frequency", "inverse_sqrt"),
    "loss.class_weights": _several(
        _from(0, 1e6), "numbers of 0 to 1e6; for a rule set loss.class_weighting"
    ),
    "loss.focal_gamma": _from(0, 100),
    "loss.label_smoothing": _below(0, 1),
    "loss.ohem_threshold": _from(0, 1),
    "loss.ohem_min_kept": _COUNT,
    "loss.dice_weight": _from(0, 1e6),
    "optim.name": _one_of("sgd", "adamw"),
    "optim.base_lr": _above(0, 1e20),
    "optim.scale_lr_by_batch": _FLAG,
    "optim.lr_batch_size": _AT_LEAST_ONE,
    "optim.schedule": _one_of("poly", "cosine", "halving"),
    "optim.halving_parts": _AT_LEAST_ONE,
    "optim.poly_power": _above(0, 100),
    "optim.cosine_ahead": _from(0, 1),
    "optim.warmup_steps": _COUNT,
    "optim.momentum": _below(0, 1),
    "optim.adam_beta2": _below(0, 1),
    "optim.weight_decay": _below(0, 1),
    "optim.decay_norm_and_bias": _FLAG,
    "optim.decay_bias": _FLAG,
    "optim.undecayed": _several(_TEXT, "patterns such as 'head/context/encoding'"),
    "optim.clip_element": _from(0, 1e6),
    "optim.clip_norm": _from(0, 1e6),
    "optim.lr_multipliers": _several(_TEXT, "texts such as 'backbone/stem=0.1'"),
    "optim.frozen": _several(_TEXT, "patterns such as 'backbone/stem'"),
    "optim.head_lr_multiplier": _above(0, 1e6),
    "optim.ema_decay": _below(0, 1),
    "train.batch_size": _AT_LEAST_ONE,
    "train.epochs": _above(0, 1e7),
    "train.total_steps": _COUNT,
    "train.freeze": _one_of("", "backbone"),
    "train.accumulate": _AT_LEAST_ONE,
    "train.max_minutes": _from(0, 1e7),
    "train.log_every_steps": _AT_LEAST_ONE,
    "train.eval_every_epochs": _from(0, 1e7),
    "train.checkpoint_every_steps": _AT_LEAST_ONE,
    "train.checkpoint_every_minutes": _from(0, 1e7),
    "train.keep_checkpoints": _AT_LEAST_ONE,
    "train.num_pictures": _from(0, 10_000),
    "train.val_protocol": _PROTOCOL,
    "eval.protocol": _PROTOCOL,
    "eval.bucket": _from(1, 1 << 15),
    "eval.scales": _several(
        _above(0, 50), "one or more numbers above 0, at most 50", 1
    ),
    "eval.flip": _FLAG,
    "eval.base_size": _SIDE,
    "eval.crop_size": _SIDE,
    "eval.refine": _one_of("none", "dense"),
    "eval.upsampled": _one_of("logits", "probabilities"),
    "eval.dense.bilateral_weight": _from(0, 1e6),
    "eval.dense.bilateral_px": _above(0, 1e6),
    "eval.dense.bilateral_levels": _above(0, 1e6),
    "eval.dense.spatial_weight": _from(0, 1e6),
    "eval.dense.spatial_px": _above(0, 1e6),
    "eval.dense.radius": _from(1, 1 << 15),
    "eval.dense.iterations": _from(0, 1000),
    "eval.batch_size": _AT_LEAST_ONE,
    "eval.absent_classes": _one_of("zero", "skip"),
    "eval.small_object_px": _COUNT,
    "eval.precise_norm_steps": _COUNT,
    "eval.max_images": _COUNT,
}
_ALLOWED_IN_TASK = {
    "segmentation": {
        "model.name": _one_of(*HEADS),
        "model.draw_smoothing": _one_of(False),
        "model.block": _one_of("paper"),
        "data.keep_last_batch": _one_of(False),
    },
    "classification": {
        "model.name": _one_of(*CLASSIFIERS, "backbone"),
        "train.num_pictures": _one_of(0),
        "eval.protocol": _one_of("single"),
        "train.val_protocol": _one_of("single"),
        "eval.small_object_px": _one_of(0),
        "eval.refine": _one_of("none"),
    },
}


def check(values: dict[str, Any]) -> None:
    """Checks every field, and those that have to agree.

    Args:
        values: dotted field name -> value, as config.flatten returns them; those that
            are None are still open and pass.

    Raises:
        UserError: names the first field that is not allowed.
    """
    check_fields(values, ALLOWED)
    check_fields(values, _ALLOWED_IN_TASK[values["task"]])
    low, high = values["data.augment.scale_min"], values["data.augment.scale_max"]
    if low > high:
        raise UserError(
            f"data.augment.scale_min is {low}, wanted at most data.augment.scale_max,"
            f" which is {high}"
        )
    if values["model.lateral"] and values["model.output_stride"] != 8:
        raise UserError(
            "model.lateral joins stages of one size, and model.output_stride is"
            f" {values['model.output_stride']}: wanted 8"
        )
    _check_piecewise_crf(values)
    check_together(values)
    if values["model.block"] == "authors" and values["model.name"] == "se_resnet":
        raise UserError(
            "model.block is 'authors', and their code has no SE-ResNet: wanted"
            " model.block='paper', or model.name one of resnet, encnet"
        )
    batch_size, parts = values["train.batch_size"], values["train.accumulate"]
    if batch_size % parts:
        raise UserError(
            f"train.batch_size {batch_size} does not divide into train.accumulate"
            f" {parts} equal parts"
        )


def _check_piecewise_crf(values: dict[str, Any]) -> None:
    if values["model.name"] != "piecewise_crf":
        return
    if values["model.aux"] not in (None, "none"):
        raise UserError(
            f"model.aux is {values['model.aux']!r}, and a piecewise_crf has no"
            " auxiliary head: wanted 'none'"
        )
    if values["model.mask_padding"]:
        raise UserError(
            "model.mask_padding is True, and a piecewise_crf sees all of a canvas:"
            " wanted False"
        )


def check_fields(values: dict[str, Any], allowed: dict[str, Allowed]) -> None:
    """Raises UserError for the first of some fields that is not allowed."""
    for field, rule in allowed.items():
        value = values[field]
        if value is not None and not rule.fits(value):
            raise UserError(f"{field} is {value!r}, wanted {rule.words}")


def check_total_steps(total_steps: float, epochs: float) -> None:
    """Raises UserError where the steps of a run are more than can be counted."""
    if total_steps > _MOST:
        raise UserError(
            f"train.epochs is {epochs}, which makes {total_steps:.0f} steps; wanted at"
            f" most {_MOST}"
        )
