"""Section `loss`: the terms of the loss."""

import dataclasses

from encnet_jax.fields import Section, at_least, between, field, one_of, several

_WEIGHT = between(0, 1e6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """The terms of the loss."""

    row_blocks: int = field(
        20,
        between(1, 1 << 15),
        "Number of blocks of rows in which full-resolution logits are computed one"
        " after the other, to save memory.",
    )
    labels: str = field(
        None,
        one_of("upsampled", "thinned"),
        "'upsampled': logits are upsampled to the size of the labels. 'thinned': labels"
        " are subsampled to the size of the logits.",
    )
    class_weighting: str = field(
        "",
        one_of("", "median_frequency", "inverse_sqrt"),
        "Rule that computes class weights from the training pixels when a run starts;"
        " empty: none. The weights are saved with the run.",
    )
    class_weights: tuple[float, ...] = field(
        (),
        several(
            _WEIGHT, "numbers from 0 to 1e6; to apply a rule, set loss.class_weighting"
        ),
        "One weight per class, in the order of the ids; empty: all weights are 1.",
    )
    label_smoothing: float = field(
        0.0,
        at_least(0, 1),
        "Fraction of the target probability that is spread over all classes, in"
        " segmentation and classification.",
    )
