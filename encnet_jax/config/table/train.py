"""Section `train`: the length of a run, and its logs, scores and checkpoints."""

import dataclasses

from encnet_jax.config.table.eval import PROTOCOLS
from encnet_jax.fields import (
    AT_LEAST_ONE,
    COUNT,
    Section,
    above,
    between,
    field,
    one_of,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """The length of a run, and its logs, scores and checkpoints."""

    batch_size: int = field(16, AT_LEAST_ONE, "Images per step, over all devices.")
    epochs: float = field(
        120.0,
        above(0, 1e7),
        "Length of the schedule in epochs, unless train.total_steps is above 0.",
    )
    total_steps: int = field(
        0, COUNT, "Length of the schedule in steps; 0: determined by train.epochs."
    )
    freeze: str = field(
        "",
        one_of("", "backbone", "coarse"),
        "'backbone': the backbone's weights are not trained, and its batch norms use"
        " and keep their running statistics (with init_from, a linear probe). 'coarse':"
        " the same for everything except the layers of model.crf.refine. Empty: train"
        " everything.",
    )
    accumulate: int = field(
        1,
        AT_LEAST_ONE,
        "Number of micro-batches per step, whose gradients are averaged; batch norms"
        " normalise each micro-batch separately.",
    )
    max_minutes: float = field(
        0.0, between(0, 1e7), "Save and stop after this many minutes; 0: no limit."
    )
    log_every_steps: int = field(50, AT_LEAST_ONE, "Steps between logged metrics.")
    eval_every_epochs: float = field(
        None,
        between(0, 1e7),
        "Epochs between evaluations; 0: only at the end. Default: 1, or more if"
        " evaluation would otherwise take more than a tenth of the training time. The"
        " estimate assumes that training takes three times as long per pixel as"
        " evaluation, and omits compilation and the last evaluation.",
    )
    checkpoint_every_steps: int = field(
        1000, AT_LEAST_ONE, "Steps between checkpoints."
    )
    patience: int = field(
        0,
        COUNT,
        "Stop after this many evaluations without a better score; 0: never.",
    )
    checkpoint_every_minutes: float = field(
        15.0,
        between(0, 1e7),
        "Also save this many minutes after the last checkpoint, at a logged step; 0:"
        " save by steps only.",
    )
    keep_checkpoints: int = field(
        2, AT_LEAST_ONE, "Number of newest checkpoints to keep; the best is also kept."
    )
    num_pictures: int = field(
        4,
        between(0, 10_000),
        "Number of validation images whose predictions are written for TensorBoard.",
    )
    val_protocol: str = field(
        "single", lambda: one_of(*PROTOCOLS), "Evaluation protocol during training."
    )
    # Steps between evaluations, computed from train.eval_every_epochs; 0: only at the
    # end.
    eval_every_steps: int = 0
