"""What differs between kinds of problems; the loop is the same for all."""

from encnet_jax import data
from encnet_jax.errors import UserError
from encnet_jax.preprocess import PIXELS
from encnet_jax.tasks import classification, segmentation
from encnet_jax.tasks.task import Measures, Task

__all__ = ("Measures", "Task", "of", "open_dataset")


def of(config) -> Task:
    """Returns the task of a resolved configuration."""
    if config.task == "classification":
        return classification.task(config)
    return segmentation.TASK._replace(normalise=PIXELS[config.model.pixels])


def open_dataset(config) -> data.Dataset:
    """Opens the configuration's data set.

    Raises:
        UserError: it is for another task, unknown, or not there.
    """
    info = data.dataset_info(config.data)
    if info.task != config.task:
        raise UserError(
            f"task is {config.task!r}, and data.name {info.name!r} is a data set for"
            f" {info.task}: change one of them"
        )
    return data.open_dataset(config.data)
