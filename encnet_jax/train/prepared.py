"""Resolves a configuration, opens its data set, and checks both before any work."""

from typing import Any

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.data.checks import facts
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.pods import parallel
from encnet_jax.train.norm_values import check_norm_values


def prepared(config) -> tuple[Any, Dataset, dict[str, int]]:
    """Opens the data set and makes all checks that need no device memory.

    Args:
        config: as returned by `config.load`, overrides applied.

    Returns:
        (configuration, resolved without facts about the data; data set; {'images of
        SPLIT': their number}).

    Raises:
        UserError: the data set is missing or unsuitable for training, or a value is
            wrong or does not fit the devices.
    """
    config = config_lib.resolve(config)  # Wrong values first, then missing data.
    dataset = tasks.open_dataset(config)
    # A missing validation split is reported now, not after the first epochs.
    sizes = facts.sizes(dataset)
    num_examples = dataset.num_examples(config.data.train_split)
    config_lib.steps_per_epoch(config, num_examples)  # At least one.
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
    facts.check(dataset, config.loss, max_images=config.eval.max_images)
    return config, dataset, sizes
