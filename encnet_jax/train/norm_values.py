"""Checks that every batch norm of a run averages over several values per channel."""

import jax
import jax.numpy as jnp

from encnet_jax.config import DataConfig, ModelConfig, TrainConfig
from encnet_jax.tasks import Task


def check_norm_values(
    task: Task,
    num_classes: int,
    num_examples: int,
    *,
    train: TrainConfig,
    data: DataConfig,
    model: ModelConfig,
) -> None:
    """Checks that every batch norm averages over at least two values per channel.

    If batch statistics cover a single image, batch norms after global pooling (PSPNet,
    DeepLabV3) or on a 1x1 feature map average over one value per channel. The network
    is traced without any computation.

    Args:
        task: task of the run.
        num_classes: number of classes.
        num_examples: number of training images, which determines the size of the last
            batch.
        train, data, model: sections of the resolved configuration.

    Raises:
        UserError: a batch norm would average over one value per channel. The message
            states the batch norm and the fields to change.
    """
    devices, last = jax.device_count(), num_examples % train.batch_size
    smallest = last if data.keep_last_batch and last else train.batch_size
    each = smallest // (devices * train.accumulate)
    together = 1 if model.block == "authors" else model.norm_group
    if each * (together or devices) > 1:
        return
    # Without an axis, a batch norm gets the images of one device only.
    network = task.build_model(num_classes, None)

    def forward(images):
        keys = {name: jax.random.key(0) for name in ("params", "dropout", "smoothing")}
        variables = network.init(keys, images, train=False)
        return network.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs=keys
        )

    image = (1, data.crop_size, data.crop_size, 3)
    jax.eval_shape(forward, jax.ShapeDtypeStruct(image, jnp.float32))
