"""Each convolution of a network, forward, against PyTorch's in turn.

python -m benchmarks.convolutions [--model fcn --backbone resnet101 --size 480]

Lines are kinds of convolutions, those first that ours lose most time at; seconds are of
all of a kind in one image's forward pass, alone, with random weights.
"""

import argparse
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


class Kind(NamedTuple):
    """What two convolutions have in common that cost the same; sizes in pixels."""

    height: int
    width: int
    channels: int
    features: int
    size: int
    taps: Taps


def kinds(model: nn.Module, size: int) -> Counter:
    """Returns how many convolutions of each kind one image of size x size meets."""
    found = Counter()

    def note(apply, args, kwargs, context):
        conv = context.module
        if isinstance(conv, Conv) and context.method_name == "__call__":
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
    """Returns functions that run a convolution once in either library."""
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

    return {"ours": lambda: ours(x, kernel).block_until_ready(), "PyTorch": theirs}


def main() -> None:
    """Prints a table, then the same as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pairs.add_flags(parser)
    parser.set_defaults(repeats=20)
    args = parser.parse_args()
    config = pairs.make(args, 1).config
    rows = {}
    for kind, count in kinds(
        models.build(config.model, args.classes), args.size
    ).items():
        summary = measure.summarise(
            measure.alternate(pair_of(kind), args.repeats), "PyTorch"
        )
        ours, theirs = (
            count * summary[name]["seconds"] for name in ("ours", "PyTorch")
        )
        name = f"{count} x {kind.size}x{kind.size} {kind.channels}-{kind.features}"
        name += (
            f" at {kind.height}, stride {kind.taps.stride}, rate {kind.taps.dilation}"
        )
        rows[name] = {"ours s": ours, "PyTorch s": theirs, "lost s": ours - theirs}
    rows = dict(sorted(rows.items(), key=lambda row: -row[1]["lost s"]))
    rows["all"] = {
        key: sum(row[key] for row in rows.values())
        for key in ("ours s", "PyTorch s", "lost s")
    }
    measure.report(f"convolutions of {args.model}-{args.backbone}", rows, vars(args))


if __name__ == "__main__":
    main()
