"""Peak temporary memory and time of the fused loss against the plain one.

python -m benchmarks.loss_memory [--batch 4 --size 480 --classes 150]

The plain loss holds every full-resolution float32 logit of the batch, forward and
backward; the fused one 1 / row_blocks of them. Memory is the compiler's own analysis.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from benchmarks import measure
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import upsampled_cross_entropy
from encnet_jax.models.resize import resize_bilinear


def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The same sum as `upsampled_cross_entropy`, all pixels at once."""
    x = resize_bilinear(logits, *labels.shape[1:])
    valid = labels != IGNORE_LABEL
    ids = jnp.where(valid, labels, 0).astype(jnp.int32)
    each = optax.softmax_cross_entropy_with_integer_labels(x, ids)
    return jnp.sum(each * valid)


def main() -> None:
    """Prints a table, then the same as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    low = args.size // 8
    logits = jax.random.normal(jax.random.key(0), (args.batch, low, low, args.classes))
    shape = (args.batch, args.size, args.size)
    labels = jax.random.randint(jax.random.key(1), shape, 0, args.classes, jnp.uint8)
    compiled = {
        name: jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()
        for name, loss in (("plain", plain_loss), ("fused", upsampled_cross_entropy))
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
