"""Runs all GPU benchmarks, in about ten minutes.

python -m benchmarks.gpu

1. A training step of EncNet-50, 8 x 480, bfloat16, against `torch.compile`.
2. Dilated 3x3 convolutions (forward and both gradients) against cuDNN through PyTorch.
3. The self-test of the package.

Each part runs in a separate process, so that parts do not compete for GPU memory.
"""

import argparse
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import measure
from encnet_jax.errors import UserError
from encnet_jax.models.bands import Taps
from encnet_jax.models.conv_forms import convolve

# (channels in and out, side of the feature map, dilation): stages 3 and 4 at 480.
KINDS = ((256, 60, 1), (256, 60, 2), (512, 60, 2), (512, 60, 4))
DIRECTIONS = ("forward", "input gradient", "kernel gradient")
STEP = (
    "benchmarks.train_step",
    *("--batch", "8", "--size", "480", "--dtype", "bfloat16", "--repeats", "20"),
)


def our_directions(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, taps: Taps):
    """Returns direction -> function that computes it and waits for the result."""

    def gradient(place):
        def of(x, kernel, cotangent):
            _, vjp = jax.vjp(lambda *arrays: convolve(*arrays, taps), x, kernel)
            return vjp(cotangent)[place]

        return of

    functions = (lambda x, kernel, _: convolve(x, kernel, taps), *map(gradient, (0, 1)))

    def waiting(function):
        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(x, kernel, cotangent))

    return dict(zip(DIRECTIONS, map(waiting, functions), strict=True))


def torch_directions(x, kernel, cotangent, taps: Taps) -> dict:
    """Does the same with cuDNN on the GPU; the arrays are NumPy's in our layouts."""

    def on_device(array, *order):
        tensor = torch.from_numpy(array).permute(*order).to("cuda", torch.bfloat16)
        return tensor.contiguous(memory_format=torch.channels_last)

    x, cotangent = on_device(x, 0, 3, 1, 2), on_device(cotangent, 0, 3, 1, 2)
    kernel = on_device(kernel, 3, 2, 0, 1)
    stride, dilation, padding = taps
    settings = ([stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], 1)
    backward = torch.ops.aten.convolution_backward

    def forward():
        F.conv2d(x, kernel, None, stride, padding, dilation)
        torch.cuda.synchronize()

    def gradient(mask):
        def run():
            backward(cotangent, x, kernel, None, *settings, mask)
            torch.cuda.synchronize()

        return run

    functions = (
        forward,
        gradient([True, False, False]),
        gradient([False, True, False]),
    )
    return dict(zip(DIRECTIONS, functions, strict=True))


def convolutions(repeats: int) -> None:
    """Times the convolutions; prints a line for each kind and direction."""
    torch.backends.cudnn.benchmark = True
    rows = {}
    for channels, side, dilation in KINDS:
        taps = Taps(1, dilation, dilation)
        keys = jax.random.split(jax.random.key(0), 3)
        image = (8, side, side, channels)
        shapes = (image, (3, 3, channels, channels), image)
        arrays = [
            jax.random.normal(key, shape)
            for key, shape in zip(keys, shapes, strict=True)
        ]
        theirs = torch_directions(*map(np.array, arrays), taps)
        ours = our_directions(*(x.astype(jnp.bfloat16) for x in arrays), taps)
        for name in DIRECTIONS:
            candidates = {"ours": ours[name], "cuDNN": theirs[name]}
            seconds = measure.alternate(candidates, repeats, settle=True)
            line = f"{channels} channels, rate {dilation}, {name}"
            rows[line] = measure.summarise(seconds, "cuDNN")["ours"]
    measure.report("dilated convolutions, 8 x 60 x 60", rows, {"repeats": repeats})


def main() -> None:
    """Runs the parts one after the other; fails if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--convolutions", action="store_true", help="part 2 only")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    if args.convolutions:
        if jax.default_backend() != "gpu":
            raise UserError(f"JAX runs on {jax.default_backend()}; expected a GPU")
        return convolutions(args.repeats)
    own = ("benchmarks.gpu", "--convolutions", "--repeats", str(args.repeats))
    # Both frameworks share the GPU.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    for module in (STEP, own, ("encnet_jax.selftest",)):
        subprocess.run([sys.executable, "-m", *module], env=environment, check=True)


if __name__ == "__main__":
    main()
