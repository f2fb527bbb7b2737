"""Resolves a configuration, opens its data set, and checks both before any work."""

from typing import Any

import jax

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.data.checks import teachable
from encnet_jax.data.checks.class_weights import check_length
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.pods import parallel
from encnet_jax.train.norm_values import check_norm_values


def prepared(config) -> tuple[Any, Dataset, dict[str, int]]:
    """Opens the data set and makes all checks that need no device memory.

    Args:
        config: as returned by `config.load`, overrides applied.

    Returns:
        (resolved configuration, data set, {'images of SPLIT': their number}).

    Raises:
        UserError: the data set is missing or unsuitable for training, or a value is
            wrong or does not fit the devices.
    """
    config_lib.resolve(config)  # A wrong value is reported before a missing data set.
    dataset = tasks.open_dataset(config)
    splits = filter(None, (config.data.train_split, config.data.val_split))
    # A missing validation split is reported now, not after the first epochs.
    sizes = {f"images of {name}": dataset.num_labelled(name) for name in splits}
    num_examples = dataset.num_examples(config.data.train_split)
    config = config_lib.resolve(config, num_examples)
    check_length(config.loss.class_weights, dataset.info)
    teachable.check(dataset, config.data.train_split, config.data.val_split)
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate)
    parallel.check_norm_group(config.model.norm_group)
    if config.data.keep_last_batch:
        last = num_examples % config.train.batch_size
        parallel.check_batch_size(
            last, config.train.accumulate, "the batch kept by data.keep_last_batch"
        )
    check_norm_values(
        tasks.of(config),
        dataset.info.num_classes,
        num_examples,
        train=config.train,
        data=config.data,
        model=config.model,
    )
    teachable.check_validation(
        dataset,
        config.data.val_split,
        config.eval.max_images,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return config, dataset, sizes
