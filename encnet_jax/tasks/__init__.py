"""The two tasks, segmentation and classification, which share one training loop."""

from ml_collections import ConfigDict

from encnet_jax import data
from encnet_jax.config import Config, DataConfig, ModelConfig
from encnet_jax.errors import UserError
from encnet_jax.preprocess import CIFAR_MEAN, PIXELS, Normaliser
from encnet_jax.tasks import classification, segmentation
from encnet_jax.tasks.task import Measures, Task

__all__ = ("Measures", "Task", "of", "open_dataset")


def of(config: Config) -> Task:
    """Returns the task (segmentation or classification) of a resolved configuration."""
    normalise = _normaliser(config.task, config.model, config.data)
    freeze = config.train.freeze
    if config.task == "classification":
        return classification.task(
            config.model,
            config.loss,
            config.eval,
            normalise=normalise,
            freeze_backbone=bool(freeze),
        )
    return segmentation.task(
        config.model,
        config.loss,
        config.data,
        config.eval,
        normalise=normalise,
        freeze=freeze,
        architecture=config.architecture,
    )


def _normaliser(task: str, model: ModelConfig, data: DataConfig) -> Normaliser:
    """Returns the function that normalises the input images of the network.

    A classifier with a backbone has the same normalisation as a segmentation network,
    because its backbone can be used in a segmentation network. Networks for 32x32
    images subtract the mean of CIFAR-10.
    """
    if task == "classification" and model.name != "backbone":
        return Normaliser(CIFAR_MEAN, data.channel_std)
    return PIXELS[model.pixels]


def open_dataset(config: Config | ConfigDict) -> data.Dataset:
    """Opens the data set of a configuration.

    Raises:
        UserError: the data set is unknown, is missing, or is for the other task.
    """
    info = data.dataset_info(config.data)
    if info.task != config.task:
        raise UserError(
            f"task is {config.task!r}, but data.name {info.name!r} is a data set for"
            f" {info.task}: change task or data.name"
        )
    return data.open_dataset(config.data)
