"""Times training steps against the same network in PyTorch, alternately.

python -m benchmarks.train_step [--model fcn --backbone resnet101 --dtype bfloat16]

A step is forward pass, loss with upsampling, backward pass, and SGD with momentum and
weight decay. PyTorch's input is already normalised; ours is not. Ratios are to
torch.compile, or with --no_compile to eager PyTorch, channels_last.
"""

import argparse
import copy

import jax
import torch

from benchmarks import measure, pairs
from encnet_jax.pods import parallel
from encnet_jax.train.assemble import assemble
from encnet_jax.train.step import parallel_step


def our_step(pair: pairs.Pair, batch: dict, num_classes: int):
    """Returns a function that takes one step and returns the loss."""
    config = pair.config
    parts = assemble(config, num_classes, start=lambda _: pair.variables)
    devices = jax.devices()[:1]
    program = parallel_step(parts.step, devices)
    held = [parallel.replicate(parts.state, devices)]
    fed = parallel.shard(batch, devices)

    def step():
        held[0], metrics = program(held[0], fed)
        return float(jax.block_until_ready(metrics)["loss"])

    return step


def torch_step(pair: pairs.Pair, batch: dict, memory_format, compiled: bool):
    """Returns a function that takes one step and returns the loss."""
    settings = pair.config.optim
    module = copy.deepcopy(pair.module).train().to(memory_format=memory_format)
    head = [p for name, p in module.named_parameters() if "pretrained" not in name]
    backbone = list(module.pretrained.parameters())
    optimiser = torch.optim.SGD(
        [
            {"params": backbone, "lr": settings.base_lr},
            {"params": head, "lr": settings.base_lr * settings.head_lr_multiplier},
        ],
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    images, labels = pairs.to_torch(batch, pair.device)
    images = images.to(memory_format=memory_format)
    half = pair.config.model.dtype == "bfloat16"

    def loss_of(images, labels):
        with torch.autocast(pair.device, torch.bfloat16, enabled=half):
            outputs = module(images)
        return pairs.torch_loss(outputs, labels, pair.config.loss)

    loss_fn = torch.compile(loss_of) if compiled else loss_of

    def step():
        optimiser.zero_grad()
        loss = loss_fn(images, labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pairs.add_flags(parser)
    parser.add_argument("--batch", type=int, default=2)
    args = parser.parse_args()
    batch = pairs.random_batch(args, args.batch)
    pair = pairs.make(args, args.batch)
    ours = our_step(pair, batch, args.classes)
    first = ours()
    plain, last = torch.contiguous_format, torch.channels_last
    candidates = {
        "ours": ours,
        "torch NCHW": torch_step(pair, batch, plain, False),
        "torch channels_last": torch_step(pair, batch, last, False),
    }
    if not args.no_compile:
        candidates["torch.compile"] = torch_step(pair, batch, last, True)
    theirs = candidates["torch channels_last"]()
    seconds = measure.alternate(candidates, args.repeats)
    reference = "torch channels_last" if args.no_compile else "torch.compile"
    rows = measure.summarise(seconds, reference)
    print(f"first losses, dropout apart: ours {first:.4f}, torch {theirs:.4f}")
    title = f"training step, {args.model}-{args.backbone}, {args.batch} x {args.size}"
    measure.report(title, rows, vars(args))


if __name__ == "__main__":
    main()
