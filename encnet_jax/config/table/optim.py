"""Section `optim`: the optimiser and its schedule."""

import dataclasses

from encnet_jax.fields import (
    AT_LEAST_ONE,
    COUNT,
    FLAG,
    TEXT,
    Section,
    above,
    at_least,
    between,
    field,
    one_of,
    several,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig(Section):
    """The optimiser and its schedule."""

    name: str = field("sgd", one_of("sgd", "adamw"), "SGD with momentum, or AdamW.")
    base_lr: float = field(
        0.01, above(0, 1e20), "Initial learning rate, after the warm-up."
    )
    scale_lr_by_batch: bool = field(
        False, FLAG, "Multiply base_lr by train.batch_size / optim.lr_batch_size."
    )
    lr_batch_size: int = field(
        16, AT_LEAST_ONE, "Batch size, in images, to which base_lr refers."
    )
    schedule: str = field(
        "poly",
        one_of("poly", "cosine", "halving"),
        "Schedule of the learning rate. 'poly' and 'cosine' end at 0; 'halving' halves"
        " the rate after each of optim.halving_parts equal intervals of the run.",
    )
    halving_parts: int = field(
        6,
        AT_LEAST_ONE,
        "Number of equal intervals into which the schedule 'halving' divides the run.",
    )
    poly_power: float = field(0.9, above(0, 100), "Exponent of the 'poly' schedule.")
    cosine_ahead: float = field(
        0.0,
        between(0, 1),
        "Fraction of the run by which the 'cosine' schedule is shifted ahead: the"
        " learning rate reaches 0 earlier and then rises again.",
    )
    warmup_steps: int = field(
        0, COUNT, "Number of steps in which the learning rate rises linearly from 0."
    )
    momentum: float = field(
        0.9, at_least(0, 1), "Momentum of SGD; first beta of AdamW."
    )
    adam_beta2: float = field(0.999, at_least(0, 1), "AdamW's second beta.")
    weight_decay: float = field(
        1e-4, at_least(0, 1), "Weight of half the sum of squared weights in the loss."
    )
    decay_norm_and_bias: bool = field(
        True,
        FLAG,
        "Apply weight decay also to norms and biases, as the authors' code does; if"
        " False, optim.decay_bias has no effect.",
    )
    decay_bias: bool = field(
        None,
        FLAG,
        "Apply weight decay to biases, including those of norms, if"
        " optim.decay_norm_and_bias is True. Default: set by architecture.",
    )
    undecayed: tuple[str, ...] = field(
        (),
        several(TEXT, "patterns such as 'head/context/encoding'"),
        "Patterns of the names of parameters without weight decay:"
        " ('head/context/encoding',).",
    )
    clip_element: float = field(
        None,
        between(0, 1e6),
        "Each element of the gradient is clipped to [-clip_element, clip_element]; 0:"
        " not clipped. Default: set by architecture.",
    )
    head_lr_multiplier: float = field(
        None,
        above(0, 1e6),
        "Factor on the learning rate of all parameters outside the backbone. Default:"
        " set by architecture.",
    )
    lr_multipliers: tuple[str, ...] = field(
        (),
        several(TEXT, "texts such as 'backbone/stem=0.1'"),
        "Entries PATTERN=FACTOR multiply the learning rates of parameters whose names"
        " match PATTERN by FACTOR, which is 0 or more: ('backbone/stem=0.1',"
        " 'head/*=2'). The factors of all matching patterns are multiplied.",
    )
    frozen: tuple[str, ...] = field(
        (),
        several(TEXT, "patterns such as 'backbone/stem'"),
        "Patterns of the names of parameters that are not trained: ('backbone/stem',)."
        " Unlike with train.freeze, batch norms still update their running statistics.",
    )
    clip_norm: float = field(
        0.0,
        between(0, 1e6),
        "The whole gradient is scaled down to at most this norm; 0: not clipped.",
    )
    ema_decay: float = field(
        0.0,
        at_least(0, 1),
        "Decay of the moving average of the weights (a smaller decay is used in the"
        " first steps); 0: no average.",
    )
