"""Times each convolution of a network against PyTorch's, forward pass.

python -m benchmarks.convolutions [--model fcn --backbone resnet101 --size 480]

Each row is a kind of convolution; rows in which ours lose most time are first. Seconds
are the total for all convolutions of a kind in one image's forward pass. Each kind runs
separately, with random weights. The auxiliary head is left out, as in prediction.
"""

import argparse
import statistics
from collections import Counter
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import torch
from torch.nn import functional as F

from benchmarks import measure, pairs
from encnet_jax import models
from encnet_jax.models.bands import Taps
from encnet_jax.models.conv import Conv
from encnet_jax.models.conv_forms import convolve

SIDES = ("ours", "PyTorch")


class Kind(NamedTuple):
    """The properties that determine the cost of a convolution; sizes in pixels."""

    height: int
    width: int
    channels: int
    features: int
    size: int
    taps: Taps


def kinds(model: nn.Module, size: int) -> Counter:
    """Counts the convolutions of each kind for one image of size x size."""
    found = Counter()

    def note(apply, args, kwargs, context):
        conv = context.module
        if isinstance(conv, Conv) and conv.path[0] != "aux_head":
            height, width, channels = args[0].shape[1:]
            padding = conv.dilation * (conv.kernel_size // 2)
            taps = Taps(conv.stride, conv.dilation, padding)
            sizes = height, width, channels, conv.features, conv.kernel_size
            found[Kind(*sizes, taps)] += 1
        return apply(*args, **kwargs)

    images = jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    with nn.intercept_methods(note):
        jax.eval_shape(model.apply, variables, images)
    return found


def pair_of(kind: Kind) -> dict:
    """Returns, for each of SIDES, a function that runs a float32 convolution once."""
    kernel_shape = (kind.size, kind.size, kind.channels, kind.features)
    x = jax.random.normal(jax.random.key(0), (1, *kind[:3]))
    kernel = jax.random.normal(jax.random.key(1), kernel_shape)
    ours = jax.jit(lambda x, kernel: convolve(x, kernel, kind.taps))
    last = {"memory_format": torch.channels_last}
    images = torch.randn(1, kind.channels, *kind[:2]).contiguous(**last)
    weight = torch.randn(kind.features, kind.channels, kind.size, kind.size)
    weight = weight.contiguous(**last)
    stride, dilation, padding = kind.taps

    @torch.no_grad()
    def theirs():
        F.conv2d(images, weight, None, stride, padding, dilation)

    both = lambda: ours(x, kernel).block_until_ready(), theirs
    return dict(zip(SIDES, both, strict=True))


def name_of(kind: Kind, count: int) -> str:
    """Returns a row's name: number and kind of convolutions."""
    return (
        f"{count} x {kind.size}x{kind.size} {kind.channels}-{kind.features}"
        f" at {kind.height}, stride {kind.taps.stride}, rate {kind.taps.dilation}"
    )


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pairs.add_flags(parser)
    parser.set_defaults(repeats=20)
    args = parser.parse_args()
    model = models.build(pairs.make(args, 1).config.model, args.classes)
    rows = {}
    for kind, count in kinds(model, args.size).items():
        seconds = measure.alternate(pair_of(kind), args.repeats, settle=True)
        ours, theirs = (count * statistics.median(seconds[x]) for x in SIDES)
        rows[name_of(kind, count)] = {
            "ours s": ours,
            "PyTorch s": theirs,
            "lost s": ours - theirs,
        }
    rows = dict(sorted(rows.items(), key=lambda row: -row[1]["lost s"]))
    rows["all"] = {
        key: sum(row[key] for row in rows.values())
        for key in ("ours s", "PyTorch s", "lost s")
    }
    measure.report(f"convolutions of {args.model}-{args.backbone}", rows, vars(args))


if __name__ == "__main__":
    main()
