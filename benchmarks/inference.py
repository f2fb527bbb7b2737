"""Times labelling one image against the same network in PyTorch, alternately.

python -m benchmarks.inference [--model fcn --backbone resnet101 --dtype bfloat16]

The timed work: forward pass with running statistics, bilinear upsampling to the size of
the image, argmax. As in `predict.py`, our batch norms are folded into the convolutions,
and kernels are transformed.
"""

import argparse
import copy
import functools

import jax
import numpy as np
import torch

from benchmarks import measure, pairs
from encnet_jax import models
from encnet_jax.models.folding import fold_batch_norms, transform_kernels
from encnet_jax.preprocess import normalise
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import canvas, whole_images


def our_inference(pair: pairs.Pair, batch: dict, num_classes: int):
    """Returns a function that returns labels uint8[B, H, W], as evaluation does."""
    m = pair.config.model
    model = models.build(m, num_classes)
    forward = Forward.of(model, num_classes, normalise, m, 1.0)
    placed = [
        canvas.place(
            image,
            scale=1.0,
            bucket=m.output_stride,
            logits_stride=models.logits_stride(m),
        )
        for image in batch["image"]
    ]
    forward = forward._replace(mask_padding=False)
    program = jax.jit(functools.partial(whole_images.predict, forward=forward))
    variables = jax.device_put(fold_batch_norms(pair.variables, m.norm_epsilon))
    variables = transform_kernels(model, variables)
    inputs = jax.device_put(
        (variables, jax.tree.map(lambda *x: np.stack(x), *placed)),
        jax.devices()[0],
    )
    return lambda: jax.block_until_ready(program(*inputs).pixels)


def torch_inference(pair: pairs.Pair, batch: dict, memory_format, compiled: bool):
    """Returns a function that returns labels int64[B, H, W]."""
    module = copy.deepcopy(pair.module).eval().to(memory_format=memory_format)
    images, labels = pairs.to_torch(batch, pair.device)
    images = images.to(memory_format=memory_format)
    half = pair.config.model.dtype == "bfloat16"

    def labels_of(images):
        with torch.autocast(pair.device, torch.bfloat16, enabled=half):
            logits = module(images)["logits"]
        return pairs.upsampled(logits, labels.shape[-1]).argmax(1)

    function = torch.compile(labels_of) if compiled else labels_of

    @torch.no_grad()
    def infer():
        found = function(images)
        if pair.device == "cuda":
            torch.cuda.synchronize()
        return found

    return infer


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pairs.add_flags(parser)
    parser.add_argument("--batch", type=int, default=1)
    parser.set_defaults(repeats=10)
    args = parser.parse_args()
    batch = pairs.random_batch(args, args.batch)
    pair = pairs.make(args, args.batch)
    plain, last = torch.contiguous_format, torch.channels_last
    candidates = {
        "ours": our_inference(pair, batch, args.classes),
        "torch NCHW": torch_inference(pair, batch, plain, False),
        "torch channels_last": torch_inference(pair, batch, last, False),
    }
    if not args.no_compile:
        candidates["torch.compile"] = torch_inference(pair, batch, last, True)
    ours, theirs = (candidates[name]() for name in ("ours", "torch NCHW"))
    agreement = float(np.mean(np.asarray(ours) == theirs.cpu().numpy()))
    reference = "torch channels_last" if args.no_compile else "torch.compile"
    seconds = measure.alternate(candidates, args.repeats, settle=True)
    rows = measure.summarise(seconds, reference)
    print(f"equal labels: {100 * agreement:.3f} %")
    title = f"inference, {args.model}-{args.backbone}, {args.batch} x {args.size}"
    measure.report(title, rows, vars(args) | {"agreement": agreement})


if __name__ == "__main__":
    main()
