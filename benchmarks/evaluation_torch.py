"""Compares `release` evaluation with a loop in PyTorch, in images per second.

python -m benchmarks.evaluation_torch [--repeats 8 --height 512 --width 683 --size 480]

Both sides use the same images, windows, weights and sums, and alternate, one image per
round. Our batch norms are folded into the convolutions, as in `eval.py`. The PyTorch
loop is that of the released code: one window and its mirror image at a time,
channels_last; it also computes the auxiliary head.
"""

import argparse
from functools import partial

import jax
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import measure, pairs
from benchmarks.evaluation import make_examples
from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.models.folding import fold_batch_norms, transform_kernels
from encnet_jax.pods import parallel
from encnet_jax.preprocess import MEAN, STD, normalise
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import windows
from encnet_jax.scoring.protocols.sliding import MAX_EXPONENT


class TorchLoop:
    """The `release` protocol in PyTorch, one image after the other.

    Source: a rewrite of MultiEvalModule of the released code; as there, images are
    padded with black.
    """

    def __init__(self, pair: pairs.Pair, settings, num_classes: int):
        """Stores the network, config.eval and C."""
        self._module = pair.module.eval().to(memory_format=torch.channels_last)
        self._device, self._settings = pair.device, settings
        self._num_classes = num_classes
        self._mean, self._std = (
            torch.tensor(x, device=self._device)[None, :, None, None] * 255
            for x in (MEAN, STD)
        )

    @torch.no_grad()
    def confusion(self, examples: list[dict]) -> ConfusionMatrix:
        """Counts all pixels of the examples."""
        matrix = ConfusionMatrix(self._num_classes)
        for example in examples:
            pixels = torch.from_numpy(example["image"].astype(np.float32))
            pixels = pixels.permute(2, 0, 1)[None].to(self._device)
            ids = self._scores(pixels).argmax(1)[0]
            matrix.update(example["label"], ids.cpu().numpy())
        return matrix

    def _scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns f32[1, C, H, W], summed over scales."""
        height, width = pixels.shape[2:]
        total, crop = 0, self._settings.crop_size
        for scale in self._settings.scales:
            h, w = windows.scaled_size(height, width, scale, self._settings.base_size)
            rows, columns = windows.starts(h, crop), windows.starts(w, crop)
            room = rows[-1] + crop, columns[-1] + crop
            padded = F.pad(_resized(pixels, h, w), (0, room[1] - w, 0, room[0] - h))
            sums = torch.zeros((1, self._num_classes, *room), device=self._device)
            counts = torch.zeros((1, 1, *room), device=self._device)
            for y in rows:
                for x in columns:
                    part = np.s_[:, :, y : y + crop, x : x + crop]
                    sums[part] += self._window_scores(padded[part])
                    counts[part] += 1
            total = total + _resized((sums / counts)[:, :, :h, :w], height, width)
        return total

    def _window_scores(self, window: torch.Tensor) -> torch.Tensor:
        normal = (window - self._mean) / self._std
        normal = normal.contiguous(memory_format=torch.channels_last)
        logits = self._logits(normal) + self._logits(normal.flip(3)).flip(3)
        return logits.clamp(max=MAX_EXPONENT).exp()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        return pairs.upsampled(self._module(images)["logits"], images.shape[2])


def _resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=True)


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pairs.add_flags(parser)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=683)
    parser.add_argument("--batch", type=int, default=1, help="windows a device")
    parser.set_defaults(size=480, repeats=8)
    args = parser.parse_args()
    pair = pairs.make(args, batch_size=2)
    fields = {
        "eval.protocol": "release",
        "eval.crop_size": args.size,
        "eval.base_size": args.size * 13 // 12,
        "eval.batch_size": args.batch * jax.local_device_count(),
    }
    config = config_lib.replaced(pair.config, fields)
    examples = make_examples(args, args.repeats)
    model = models.build(config.model, args.classes)
    scale = config.data.input_scale
    forward = Forward.of(model, args.classes, normalise, config.model, scale)
    evaluator = Evaluator(forward, config.eval)
    variables = parallel.replicate(
        fold_batch_norms(pair.variables, config.model.norm_epsilon)
    )
    variables = transform_kernels(model, variables)
    loop = TorchLoop(pair, config.eval, args.classes)
    matrices = {"ours": [], "PyTorch": []}

    def image_by_image(name, confusion):
        rounds = iter([examples[0], *examples])  # The first round is not timed.
        return lambda: matrices[name].append(confusion([next(rounds)]))

    candidates = {
        "ours": image_by_image("ours", partial(evaluator.confusion, variables)),
        "PyTorch": image_by_image("PyTorch", loop.confusion),
    }
    seconds = measure.alternate(candidates, args.repeats)
    rows = measure.summarise(seconds, "PyTorch")
    for row in rows.values():
        row["images/s"] = 1 / row["seconds"]
    ours, theirs = (sum(m.counts for m in matrices[name][1:]) for name in candidates)
    equal = float(1 - np.abs(ours - theirs).sum() / 2 / theirs.sum())
    print(f"equal counts {100 * equal:.3f} %")
    title = f"`release`, windows of {args.size}, {args.model}-{args.backbone}"
    measure.report(title, rows, vars(args) | {"equal": equal})


if __name__ == "__main__":
    main()
