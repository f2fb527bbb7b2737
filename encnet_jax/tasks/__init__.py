"""The tasks, segmentation and classification; both use the same training loop."""

from ml_collections import ConfigDict

from encnet_jax import data
from encnet_jax.config import Config
from encnet_jax.errors import UserError
from encnet_jax.tasks import classification, segmentation
from encnet_jax.tasks.task import Measures, Task

__all__ = ("Measures", "Task", "of", "open_dataset")


def of(config: Config) -> Task:
    """Returns the task of a resolved configuration, with the fields' values bound."""
    sections = config.model, config.loss, config.data, config.eval
    freeze = config.train.freeze
    if config.task == "classification":
        return classification.task(*sections, freeze_backbone=bool(freeze))
    return segmentation.task(*sections, freeze=freeze, architecture=config.architecture)


def open_dataset(config: Config | ConfigDict) -> data.Dataset:
    """Opens the configuration's data set.

    Raises:
        UserError: the data set is unknown, missing, or for another task.
    """
    info = data.dataset_info(config.data)
    if info.task != config.task:
        raise UserError(
            f"task is {config.task!r}, but data.name {info.name!r} is a data set for"
            f" {info.task}: change one of them"
        )
    return data.open_dataset(config.data)
