"""Peak temporary memory and time of the fused loss against the plain one.

python benchmarks/loss_memory.py [--batch 4 --size 480 --classes 150]

The plain loss holds every full-resolution float32 logit of the batch, forward and
backward; the fused one 1 / row_blocks of them. Memory is the compiler's own analysis.
"""

import argparse
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import optax

# So that it runs as a file from any folder.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from encnet_jax import parallel  # noqa: E402
from encnet_jax.losses import IGNORE_LABEL, upsampled_cross_entropy  # noqa: E402
from encnet_jax.models.resize import resize_bilinear  # noqa: E402


def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The same sum as `upsampled_cross_entropy`, all pixels at once."""
    x = resize_bilinear(logits, *labels.shape[1:])
    valid = labels != IGNORE_LABEL
    ids = jnp.where(valid, labels, 0).astype(jnp.int32)
    each = optax.softmax_cross_entropy_with_integer_labels(x, ids)
    return jnp.sum(each * valid)


def measure(loss, logits: jax.Array, labels: jax.Array, repeats: int) -> dict:
    """Returns temporary memory of value and gradient in MiB, and the best time."""
    compiled = jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(logits, labels))
        seconds.append(time.perf_counter() - start)
    temporary = compiled.memory_analysis().temp_size_in_bytes
    return {"temporary_mib": temporary / 2**20, "seconds": min(seconds)}


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
    rows = {
        "plain": measure(plain_loss, logits, labels, args.repeats),
        "fused": measure(upsampled_cross_entropy, logits, labels, args.repeats),
    }
    print(f"{parallel.describe_devices()}, jax {jax.__version__}, {vars(args)}")
    print("loss   temporary MiB   seconds")
    for name, row in rows.items():
        print(f"{name:5} {row['temporary_mib']:15.1f} {row['seconds']:9.3f}")
    ratio = rows["plain"]["temporary_mib"] / rows["fused"]["temporary_mib"]
    print(f"the fused loss needs {ratio:.1f} times less")
    print(json.dumps({"device": parallel.describe_devices(), **vars(args), **rows}))


if __name__ == "__main__":
    main()
