"""Whether every batch norm of a run sees several values per channel."""

import jax
import jax.numpy as jnp

from encnet_jax import tasks


def check_norm_values(config, num_classes: int, num_examples: int) -> None:
    """Traces the network if a batch norm might see a single image.

    Pooled branches (PSPNet, DeepLabV3) and feature maps of one position then have one
    value per channel. Nothing is computed; with two images nothing is traced either.

    Args:
        config: resolved.
        num_classes: C.
        num_examples: training images; their last, smaller batch may be kept.

    Raises:
        UserError: names the batch norm and the fields to change.
    """
    devices, accumulate = jax.device_count(), config.train.accumulate
    sizes = [config.train.batch_size]
    if config.data.keep_last_batch and num_examples % config.train.batch_size:
        sizes.append(num_examples % config.train.batch_size)
    each = min(sizes) // (devices * accumulate)
    together = 1 if config.model.block == "authors" else config.model.norm_group
    if each * (together or devices) > 1:
        return
    # Without an axis: one device's image is all that a batch norm sees.
    model = tasks.of(config).build_model(config, num_classes, None)
    side = config.data.crop_size

    def forward(images):
        keys = {name: jax.random.key(0) for name in ("params", "dropout", "smoothing")}
        variables = model.init(keys, images, train=False)
        return model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs=keys
        )

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
