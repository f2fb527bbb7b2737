"""Loads, checks, completes and compares configurations."""

from encnet_jax.config.comparing import differences, first_difference, lengthened
from encnet_jax.config.files import load, locate_data, split_spec
from encnet_jax.config.forms import (
    change,
    flatten,
    from_dict,
    get,
    opened,
    replaced,
    to_json,
    with_value,
)
from encnet_jax.config.resolving import Facts, resolve, steps_per_epoch
from encnet_jax.config.saved import completed, from_saved, read_saved
from encnet_jax.config.table import (
    Config,
    DataConfig,
    EvalConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "EvalConfig",
    "Facts",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "TrainConfig",
    "change",
    "completed",
    "differences",
    "first_difference",
    "flatten",
    "from_dict",
    "from_saved",
    "get",
    "lengthened",
    "load",
    "locate_data",
    "opened",
    "read_saved",
    "replaced",
    "resolve",
    "split_spec",
    "steps_per_epoch",
    "to_json",
    "with_value",
]
