"""Times the Encoding Layer against the naive form, and against PyTorch's layer.

python -m benchmarks.encoding_layer [--batch 2 --positions 1024 --codes 32]

The naive form stores every residual. Forward and backward passes of all alternate in
one process. Memory is the compiler's analysis.
"""

import argparse
import os

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import measure
from benchmarks.torch_models.layers import Encoding
from encnet_jax.models.encoding import encode


def naive(features, codewords, smoothing):
    """Computes equation 1 of the paper literally; stores an array [B, N, K, D]."""
    residuals = features[:, :, None] - codewords[None, None]
    distances = jnp.sum(residuals**2, axis=-1)
    assignment = jax.nn.softmax(-smoothing[None, None] * distances, axis=-1)
    return jnp.sum(assignment[..., None] * residuals, axis=1)


def jax_candidate(function, arrays):
    """Returns (a function that computes gradients, temporary MiB)."""

    def loss(*inputs):
        return jnp.sum(function(*inputs) ** 2)

    program = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*arrays).compile()
    temporary = program.memory_analysis().temp_size_in_bytes / 2**20
    return lambda: jax.block_until_ready(program(*arrays)), temporary


def torch_candidate(arrays):
    """Returns a function that computes gradients."""
    features, codewords, smoothing = map(np.array, arrays)
    module = Encoding(*codewords.shape)
    with torch.no_grad():
        module.codewords.copy_(torch.from_numpy(codewords))
        module.scale.copy_(torch.from_numpy(-smoothing))
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    module = module.to(device)
    # The module's input is [B, D, H, W].
    x = torch.from_numpy(features.transpose(0, 2, 1)[..., None].copy()).to(device)
    inputs = (x.requires_grad_(), *module.parameters())

    def step():
        loss = module(x).pow(2).sum()
        gradients = torch.autograd.grad(loss, inputs)
        if device == "cuda":
            torch.cuda.synchronize()
        return loss, gradients

    return step


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--codes", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = (
        jax.random.normal(keys[0], (args.batch, args.positions, args.channels)),
        jax.random.normal(keys[1], (args.codes, args.channels)),
        # Small, so that assignments are soft although distances are some hundreds.
        jax.random.uniform(keys[2], (args.codes,)) / args.channels,
    )
    ours, our_memory = jax_candidate(encode, arrays)
    plain, plain_memory = jax_candidate(naive, arrays)
    candidates = {"ours": ours, "naive": plain, "torch naive": torch_candidate(arrays)}
    losses = {name: f()[0].item() for name, f in candidates.items()}
    rows = measure.summarise(
        measure.alternate(candidates, args.repeats, settle=True), "ours"
    )
    memory = {"ours": our_memory, "naive": plain_memory, "torch naive": "-"}
    for name, row in rows.items():
        row |= {"temporary MiB": memory[name], "value": losses[name]}
    sizes = f"{args.batch} x {args.positions} x {args.channels}, {args.codes} codewords"
    measure.report(f"Encoding Layer, value and gradient, {sizes}", rows, vars(args))


if __name__ == "__main__":
    main()
