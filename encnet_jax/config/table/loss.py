"""Section `loss`: the terms of the loss."""

import dataclasses

from encnet_jax.fields import COUNT, Section, at_least, between, field, one_of, several

_WEIGHT = between(0, 1e6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """The terms of the loss."""

    se_weight: float = field(
        0.2, _WEIGHT, "Weight of each SE-loss, alpha of the paper."
    )
    aux_weight: float = field(
        0.2, _WEIGHT, "Weight of an auxiliary pixel cross-entropy."
    )
    unary_weight: float = field(
        1.0, _WEIGHT, "Weight of the nodes in the loss of a piecewise_crf."
    )
    pairwise_weight: float = field(
        1.0, _WEIGHT, "Weight of each relation in the loss of a piecewise_crf."
    )
    row_blocks: int = field(
        20,
        between(1, 1 << 15),
        "Full-resolution logits exist for 1/row_blocks of the rows at a time.",
    )
    labels: str = field(
        None,
        one_of("upsampled", "thinned"),
        "'upsampled': logits are upsampled to the labels. 'thinned': every n-th label"
        " is compared with the logits as they are.",
    )
    class_weighting: str = field(
        "",
        one_of("", "median_frequency", "inverse_sqrt"),
        "Rule that counts the training pixels when a run starts; empty: none. The"
        " counted weights are saved with the run.",
    )
    class_weights: tuple[float, ...] = field(
        (),
        several(_WEIGHT, "numbers of 0 to 1e6; for a rule set loss.class_weighting"),
        "One factor per class, in the order of the ids; empty: 1 each.",
    )
    focal_gamma: float = field(
        0.0,
        between(0, 100),
        "Power of (1 - p) that multiplies each pixel's term; 0: no focal loss.",
    )
    label_smoothing: float = field(
        0.0,
        at_least(0, 1),
        "Fraction of the target spread over all classes. Also for classification.",
    )
    ohem_threshold: float = field(
        0.0,
        between(0, 1),
        "Online hard example mining, exact over the global batch: pixels whose label's"
        " probability is below this are kept; 0: this keeps none.",
    )
    ohem_min_kept: int = field(
        0,
        COUNT,
        "Pixels per image that are kept in any case, the hardest of the batch. With"
        " loss.ohem_threshold 0 only these are kept; both 0 disables mining.",
    )
    dice_weight: float = field(
        0.0, _WEIGHT, "Weight of a Dice term on the main logits."
    )
