"""Defines the checks of the self-test, which run a small network."""

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.config import defaults, recipes
from encnet_jax.models.norm import SyncBatchNorm
from encnet_jax.pods import parallel
from encnet_jax.train.assemble import Assembled, assemble
from encnet_jax.train.step import single_step
from encnet_jax.train_state import TrainState

NUM_CLASSES = 5
SIDE_PX = 64
SHOWN_LOGITS = 64  # Number of compared logits, evenly spread over the output.


def make_config(dtype: str):
    """Returns the resolved configuration of the paper's EncNet with a tiny backbone.

    Args:
        dtype: type in which the network computes, 'float32' or 'bfloat16'.
    """
    config = defaults.get_config()
    recipes.apply(config, "paper,tiny")
    config.model.dtype, config.model.dropout = dtype, 0.0
    config.data.crop_size = SIDE_PX
    config.train.batch_size, config.train.total_steps = 2, 10
    config.eval.protocol = "single"
    return config_lib.resolve(config)


def make_parts(dtype: str) -> Assembled:
    """Returns the model, optimiser, state and step function for training on one device.

    Args:
        dtype: type in which the network computes, 'float32' or 'bfloat16'.
    """
    parts = assemble(make_config(dtype), NUM_CLASSES, axis_name=None, only_shapes=True)
    shapes = {"params": parts.state.params, "batch_stats": parts.state.batch_stats}
    variables = _weights(shapes)
    return parts._replace(state=TrainState.create(variables, parts.tx, ema=False))


def _weights(shapes: dict) -> dict:
    """Samples weights that are equal on every machine and keep activations near 1.

    Args:
        shapes: {'params': tree, 'batch_stats': tree}; leaves are arrays or their
            shapes (jax.ShapeDtypeStruct).
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for path, x in sorted(traverse_util.flatten_dict(shapes).items()):
        normal = rng.standard_normal(x.shape)
        if path[-1] == "kernel":
            normal *= np.sqrt(2 / np.prod(x.shape[:-1]))
        elif path[-1] in ("scale", "var", "smoothing"):
            normal = 1 + 0.1 * normal
        else:
            normal *= 0.1
        arrays[path] = normal.astype(np.float32)
    return traverse_util.unflatten_dict(arrays)


def make_batch(num_images: int = 2) -> dict:
    """Returns a batch of synthetic images, which are smooth patterns, and labels.

    Args:
        num_images: batch size B.

    Returns:
        {'image': uint8[B, SIDE_PX, SIDE_PX, 3], 'label': uint8[B, SIDE_PX, SIDE_PX]}.
    """
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    phases = np.arange(num_images)[:, None, None, None]
    waves = np.stack([np.sin(9 * x + y), np.cos(7 * y), np.sin(5 * (x + y))], axis=-1)
    images = 127 + 100 * waves[None] * np.cos(phases + 0.5)
    labels = (NUM_CLASSES * (x + y) / 2.001).astype(np.uint8)
    labels = np.stack([np.roll(labels, 9 * i, axis=0) for i in range(num_images)])
    labels[:, :4] = 255
    return {"image": images.astype(np.uint8), "label": labels}


def forward(parts: Assembled) -> dict[str, list[float]]:
    """Runs the forward pass on a small batch.

    Returns:
        {'logits': evenly spaced sample of the pixel logits, 'se_logits': all
        class-presence logits}.
    """
    variables = {"params": parts.state.params, "batch_stats": parts.state.batch_stats}

    @jax.jit
    def apply(variables, images):
        return parts.model.apply(variables, parts.task.normalise(images), train=False)

    outputs = apply(variables, make_batch()["image"])
    logits = np.asarray(outputs["logits"]).ravel()
    shown = logits[:: len(logits) // SHOWN_LOGITS]
    return {
        "logits": shown.tolist(),
        "se_logits": np.asarray(outputs["se_logits"]).ravel().tolist(),
    }


def training_step(parts: Assembled) -> dict[str, list[float]]:
    """Runs one training step.

    Returns:
        {name: [value]} of the metrics of the step, and of the norm of each module's
        parameter update.
    """

    step = single_step(parts.step)
    state, metrics = step(parts.state, make_batch())
    moved = jax.tree.map(lambda new, old: new - old, state.params, parts.state.params)
    lengths = {name: optax.tree.norm(module) for name, module in moved.items()}
    return {name: [float(x)] for name, x in (metrics | lengths).items()}


def evaluation(parts: Assembled) -> dict[str, list[float]]:
    """Evaluates a batch; returns {'pairs': flattened confusion matrix with sum 1}."""
    evaluator = parts.task.make_evaluator(parts.model, NUM_CLASSES)
    variables = {"params": parts.state.params, "batch_stats": parts.state.batch_stats}
    batch = make_batch()
    examples = [
        {"image": image, "label": label, "id": str(number)}
        for number, (image, label) in enumerate(
            zip(batch["image"], batch["label"], strict=True)
        )
    ]
    matrix = evaluator.confusion(parallel.replicate(variables), examples)
    return {"pairs": (matrix.counts / matrix.counts.sum()).ravel().tolist()}


def shared_statistics() -> float:
    """Compares a batch norm over all local devices with a batch norm on one device.

    Both batch norms process the same images.

    Returns:
        Largest difference in outputs, running statistics or input gradients. Each
        difference is relative to the largest value of the compared array.
    """
    devices = jax.local_device_count()
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (devices, 2, 8, 8, 16)).astype(np.float32)
    weights = rng.standard_normal(x.shape).astype(np.float32)
    variables = SyncBatchNorm().init(jax.random.key(0), x[0], False)

    def values(x, weights, axis_name):
        def loss(x):
            layer = SyncBatchNorm(axis_name)
            y, updates = layer.apply(variables, x, True, mutable=["batch_stats"])
            return jnp.sum(y * weights), (y, updates["batch_stats"])

        dx, (y, stats) = jax.grad(loss, has_aux=True)(x)
        if axis_name is not None:  # Results must be equal on all devices.
            y, dx = jax.lax.all_gather((y, dx), axis_name)
        return y, dx, stats["mean"], stats["var"]

    spread = parallel.mapped(
        lambda x, w: values(x, w, parallel.AXIS),
        axis_name=parallel.AXIS,
        devices=jax.local_devices(),
    )(x, weights)
    joined = [a.reshape(-1, *a.shape[2:]) for a in (x, weights)]
    alone = jax.jit(lambda x, w: values(x, w, None))(*joined)
    return max(
        largest_difference(np.ravel(ours), np.ravel(theirs))
        for ours, theirs in zip(spread, alone, strict=True)
    )


def checkpoint_changes(parts: Assembled) -> int:
    """Saves and restores a checkpoint; returns the number of arrays that changed."""
    variables = {"params": parts.state.params, "batch_stats": parts.state.batch_stats}
    on_device = parallel.replicate(variables)
    with tempfile.TemporaryDirectory() as folder:
        read.save_variables(folder, on_device, make_config("float32"))
        restored, _ = read.restore_variables(folder)
    pairs = zip(jax.tree.leaves(variables), jax.tree.leaves(restored), strict=True)
    return sum(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)


def largest_difference(ours, expected) -> float:
    """Returns the largest difference between two arrays.

    The difference is relative to the largest absolute value of `expected`. The result
    is infinite if the shapes differ or a value of `ours` is not finite.
    """
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def product_error() -> float:
    """Returns the largest error of an element of a float32 matrix product.

    The error of an element is divided by the norms of the multiplied row and column.
    Errors measured in emulations on a CPU: 2e-7 in float32, 1e-6 in three passes of
    bfloat16, 8e-5 in TensorFloat-32 and 7e-4 in one pass of bfloat16.
    """
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 256, 256)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    found = np.asarray(jax.jit(jnp.matmul)(a, b), np.float64)
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=0)[None]
    return float(np.abs((found - exact) / lengths).max())
