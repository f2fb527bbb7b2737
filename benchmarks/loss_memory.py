"""Compares memory and time of the blockwise loss with a plain implementation.

python -m benchmarks.loss_memory [--batch 4 --size 480 --classes 150] [--options]

The plain loss stores all full-resolution float32 logits of the batch, forward and
backward; the blockwise loss stores 1 / row_blocks of them. --options adds the loss with
each of its options. Memory is the compiler's analysis of temporary arrays.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import optax

from benchmarks import measure
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import (
    PixelOptions,
    segmentation_loss,
    upsampled_cross_entropy,
)
from encnet_jax.models.resize import resize_bilinear


def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the same sum as `upsampled_cross_entropy`, all pixels at once."""
    x = resize_bilinear(logits, *labels.shape[1:])
    valid = labels != IGNORE_LABEL
    ids = jnp.where(valid, labels, 0).astype(jnp.int32)
    each = optax.softmax_cross_entropy_with_integer_labels(x, ids)
    return jnp.sum(jnp.where(valid, each, 0))


def optional_losses(num_classes: int) -> dict:
    """Returns name of an option -> segmentation loss with this option."""
    weights = tuple(1 + i / num_classes for i in range(num_classes))
    options = {
        "weights": PixelOptions(class_weights=weights),
        "focal": PixelOptions(focal_gamma=2.0),
        "smoothing": PixelOptions(label_smoothing=0.1),
        "dice": PixelOptions(dice_weight=1.0),
        "hard pixels": PixelOptions(ohem_threshold=0.7, ohem_min_kept=10_000),
    }

    def loss(logits, labels, chosen):
        outputs, no = {"logits": logits}, {"se_weight": 0.0, "aux_weight": 0.0}
        return segmentation_loss(outputs, labels, options=chosen, **no)[0]

    return {name: partial(loss, chosen=chosen) for name, chosen in options.items()}


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--options", action="store_true")
    args = parser.parse_args()
    low = args.size // 8
    logits = jax.random.normal(jax.random.key(0), (args.batch, low, low, args.classes))
    shape = (args.batch, args.size, args.size)
    labels = jax.random.randint(jax.random.key(1), shape, 0, args.classes, jnp.uint8)
    losses = {"plain": plain_loss, "fused": upsampled_cross_entropy}
    if args.options:
        losses |= optional_losses(args.classes)
    compiled = {
        name: jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()
        for name, loss in losses.items()
    }
    candidates = {
        name: lambda f=program: jax.block_until_ready(f(logits, labels))
        for name, program in compiled.items()
    }
    rows = measure.summarise(measure.alternate(candidates, args.repeats), "plain")
    for name, program in compiled.items():
        temporary = program.memory_analysis().temp_size_in_bytes
        rows[name]["temporary MiB"] = temporary / 2**20
    title = f"upsampled cross-entropy, value and gradient, {args.batch} x {args.size}"
    measure.report(f"{title}, {args.classes} classes", rows, vars(args))


if __name__ == "__main__":
    main()
