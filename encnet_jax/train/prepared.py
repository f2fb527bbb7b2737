"""Resolves a configuration, opens its data set, and checks both before training."""

from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.config import Config
from encnet_jax.data.check import facts
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.pods import parallel
from encnet_jax.train.norm_values import check_norm_values


def prepared(open_config: ConfigDict) -> tuple[Config, Dataset, dict[str, int]]:
    """Resolves a configuration, opens its data set, and checks both before training.

    Fields that depend on the data set are resolved later. The checks allocate no device
    memory.

    Args:
        open_config: result of `config.load`, with overrides applied.

    Returns:
        (configuration, open data set, {'images of SPLIT': number of images}).

    Raises:
        UserError: the data set is missing or unsuitable for training, or a
            configuration value is invalid or does not suit the number of devices.
    """
    config = config_lib.resolve(open_config)  # Report wrong values before missing data.
    dataset = tasks.open_dataset(config)
    # A missing validation split is reported now, not after the first epochs.
    sizes = facts.sizes(dataset)
    num_examples = dataset.num_examples(config.data.train_split)
    train, keep_last = config.train, config.data.keep_last_batch
    # Raises an error if the images do not fill one batch.
    config_lib.steps_per_epoch(num_examples, train.batch_size, keep_last)
    parallel.check_batch_size(train.batch_size, train.accumulate)
    parallel.check_norm_group(config.model.norm_group)
    if keep_last:
        parallel.check_batch_size(
            num_examples % train.batch_size,
            train.accumulate,
            "the size of the last batch (data.keep_last_batch=True)",
        )
    check_norm_values(
        tasks.of(config),
        dataset.info.num_classes,
        num_examples,
        train=train,
        data=config.data,
        model=config.model,
    )
    facts.check(dataset, config.loss, max_images=config.eval.max_images)
    return config, dataset, sizes
