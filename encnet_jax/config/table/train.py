"""Section `train`: length, logging, evaluation and checkpoints of a run."""

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
    """Length, logging, evaluation and checkpoints of a run."""

    batch_size: int = field(
        16, AT_LEAST_ONE, "Number of images per step, over all devices."
    )
    epochs: float = field(
        120.0,
        above(0, 1e7),
        "Length of the run in epochs, unless train.total_steps is above 0.",
    )
    total_steps: int = field(
        0, COUNT, "Length of the run in steps; 0: determined by train.epochs."
    )
    freeze: str = field(
        "",
        one_of("", "backbone", "coarse"),
        "'backbone': the backbone's weights are not trained, and its batch norms use"
        " and keep their running statistics. 'coarse': all layers except those of"
        " model.crf.refine are frozen in the same way. Empty: train all layers.",
    )
    accumulate: int = field(
        1,
        AT_LEAST_ONE,
        "Number of micro-batches per step, whose gradients are averaged; batch norms"
        " normalise each micro-batch separately.",
    )
    max_minutes: float = field(
        0.0,
        between(0, 1e7),
        "Save a checkpoint and stop after this number of minutes; 0: no limit.",
    )
    log_every_steps: int = field(
        50, AT_LEAST_ONE, "Number of steps between two logs of the metrics."
    )
    eval_every_epochs: float = field(
        None,
        between(0, 1e7),
        "Number of epochs between evaluations; 0: only at the end. Default: 1, or more"
        " if evaluation would otherwise take more than a tenth of the training time."
        " This estimate assumes that training takes three times as long per pixel as"
        " evaluation, and omits compilation and the last evaluation.",
    )
    checkpoint_every_steps: int = field(
        1000, AT_LEAST_ONE, "Number of steps between checkpoints."
    )
    patience: int = field(
        0,
        COUNT,
        "Stop after this number of evaluations without a better score; 0: never.",
    )
    checkpoint_every_minutes: float = field(
        15.0,
        between(0, 1e7),
        "Also save a checkpoint at the first logged step at least this number of"
        " minutes after the last checkpoint; 0: only train.checkpoint_every_steps"
        " counts.",
    )
    keep_checkpoints: int = field(
        2,
        AT_LEAST_ONE,
        "Number of newest checkpoints to keep; the best checkpoint is also kept.",
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
