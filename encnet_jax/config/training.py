"""Values of the loss, the augmentation and the optimiser that belong together."""

from encnet_jax.errors import UserError

_IN_SEGMENTATION = (
    "class_weights",
    "class_weighting",
    "focal_gamma",
    "ohem_threshold",
    "ohem_min_kept",
    "dice_weight",
)


def check_training(config) -> None:
    """Checks fields of a configuration without any None.

    Raises:
        UserError: one is out of its range, or two exclude each other.
    """
    _check_loss(config)
    _check_augmentation(config.data.augment)
    if config.optim.clip_norm < 0:
        raise UserError(
            f"optim.clip_norm is {config.optim.clip_norm}, wanted 0 or more"
        )
    for field in ("momentum", "adam_beta2"):
        if not 0 <= config.optim[field] < 1:
            raise UserError(
                f"optim.{field} is {config.optim[field]}, wanted 0 to below 1"
            )
    if not config.train.freeze:
        return
    if config.eval.precise_norm_steps:
        raise UserError(
            "eval.precise_norm_steps measures batch norms again, and train.freeze keeps"
            " the backbone's: set one of them to 0 or ''"
        )
    without = ("piecewise_crf", "resnet", "se_resnet", "encnet")
    kinds = without if config.task == "classification" else without[:1]
    if config.model.name in kinds:
        raise UserError(
            f"train.freeze is {config.train.freeze!r}, and model.name"
            f" {config.model.name!r} cannot freeze it: wanted ''"
        )


def _check_loss(config) -> None:
    loss = config.loss
    weights = tuple(loss.class_weights)
    if not all(isinstance(w, (int, float)) and w >= 0 for w in weights):
        raise UserError(
            f"loss.class_weights is {weights}, wanted numbers of at least 0; for a rule"
            " set loss.class_weighting"
        )
    for field, high in (("label_smoothing", 1), ("ohem_threshold", 1.0001)):
        if not 0 <= loss[field] < high:
            raise UserError(f"loss.{field} is {loss[field]}, wanted 0 to 1")
    for field in ("focal_gamma", "ohem_min_kept", "dice_weight"):
        if loss[field] < 0:
            raise UserError(f"loss.{field} is {loss[field]}, wanted at least 0")
    if loss.focal_gamma and loss.label_smoothing:
        raise UserError(
            "loss.focal_gamma and loss.label_smoothing exclude each other: set one to 0"
        )
    without = _IN_SEGMENTATION
    if config.model.name == "piecewise_crf":
        without = (*_IN_SEGMENTATION, "label_smoothing")
    elif config.task == "segmentation":
        without = ()
    for field in without:
        if loss[field]:
            raise UserError(
                f"loss.{field} is {loss[field]!r}, which model.name"
                f" {config.model.name!r} of task {config.task!r} does not know: leave"
                " it out"
            )


def _check_augmentation(augment) -> None:
    for name in ("brightness", "contrast", "saturation", "hue"):
        value, most = augment[name], 0.5 if name == "hue" else 1
        if not 0 <= value <= most:
            raise UserError(f"data.augment.{name} is {value}, wanted 0 to {most}")
    if not 0 < augment.area_min <= 1:
        raise UserError(
            f"data.augment.area_min is {augment.area_min}, wanted above 0, at most 1"
        )
