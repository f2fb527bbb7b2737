"""Compares batched sliding-window evaluation with a plain loop, in windows per second.

python -m benchmarks.evaluation [--height 512 --width 683 --crop 480 --batch 8]

Both score the same images with the `release` protocol, the same network and the same
devices. The plain loop runs the network on one window and its mirror image at a time,
fetches the full-resolution logits, and adds them on the host. A window and its mirror
image count as one.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.config import defaults
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.pods import parallel
from encnet_jax.preprocess import normalise
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import canvas, windows


def make_config(args):
    """Returns the resolved configuration of the measurement."""
    config = defaults.get_config()
    config.architecture = "release"
    config.model.backbone = args.backbone
    config.model.dtype = args.dtype
    config.eval.protocol = "release"
    config.eval.crop_size, config.eval.base_size = args.crop, args.crop * 13 // 12
    config.eval.batch_size = args.batch * jax.local_device_count()
    return config_lib.resolve(config)


def make_examples(args, number: int) -> list[dict]:
    """Returns generated images and labels of one size."""
    rng = np.random.default_rng(0)
    size = (args.height, args.width)
    return [
        {
            "image": rng.integers(0, 256, (*size, 3), np.uint8),
            "label": rng.integers(0, args.classes, size, np.uint8),
        }
        for _ in range(number)
    ]


def make_variables(model) -> dict:
    """Returns initial variables whose logits are so small that exp(sum) is finite."""
    init = jax.jit(model.init)
    variables = init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    noise = jax.random.normal(jax.random.key(1), (1, 64, 64, 3))
    largest = jnp.abs(jax.jit(model.apply)(variables, noise)["logits"]).max()
    classifier = variables["params"]["head"]["classifier"]["conv"]
    classifier["kernel"] = classifier["kernel"] / largest
    return variables


class PlainLoop:
    """Evaluates one window at a time and adds the logits on the host."""

    def __init__(self, model, config, num_classes: int):
        self._settings, self._num_classes = config.eval, num_classes

        def upsampled(variables, window):
            x = normalise(window[None])
            logits = model.apply(variables, x)["logits"]
            return resize_bilinear(logits, *window.shape[:2])[0]

        self._logits = jax.jit(upsampled)
        self._resize = jax.jit(
            lambda x, h, w: resize_bilinear(x[None], h, w)[0], static_argnums=(1, 2)
        )

    def confusion(self, variables, examples: list[dict]) -> ConfusionMatrix:
        """Counts all pixels of the examples."""
        matrix = ConfusionMatrix(self._num_classes)
        for example in examples:
            scores = self._scores(variables, example["image"])
            matrix.update(example["label"], scores.argmax(-1))
        return matrix

    def _scores(self, variables, image):
        height, width = image.shape[:2]
        total, crop = 0, self._settings.crop_size
        for scale in self._settings.scales:
            h, w = windows.scaled_size(height, width, scale, self._settings.base_size)
            scaled = np.asarray(self._resize(np.float32(image), h, w))
            room = max(h, crop), max(w, crop)
            scaled = canvas.pad(scaled, *room, 0)
            sums = np.zeros((*room, self._num_classes), np.float32)
            counts = np.zeros((*room, 1), np.float32)
            for y in windows.starts(h, crop):
                for x in windows.starts(w, crop):
                    window = scaled[y : y + crop, x : x + crop]
                    part = window.shape[:2]
                    window = canvas.pad(window, crop, crop, 0)
                    logits = np.asarray(self._logits(variables, window))
                    mirrored = np.asarray(self._logits(variables, window[:, ::-1]))
                    scores = np.exp(logits + mirrored[:, ::-1])[: part[0], : part[1]]
                    sums[y : y + crop, x : x + crop] += scores
                    counts[y : y + crop, x : x + crop] += 1
            score = (sums / counts)[:h, :w]
            total = total + np.asarray(self._resize(score, height, width))
        return total


def timed(count, variables, examples) -> tuple[float, ConfusionMatrix]:
    """Returns (seconds, counts) of an evaluation; compiles its programs before."""
    count(variables, examples[:1])
    start = time.perf_counter()
    matrix = count(variables, examples)
    return time.perf_counter() - start, matrix


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=342)
    parser.add_argument("--crop", type=int, default=240)
    parser.add_argument("--batch", type=int, default=1, help="windows a device")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    config = make_config(args)
    model = models.build(config.model, args.classes)
    variables = make_variables(model)
    examples = make_examples(args, args.images)
    number = args.images * windows.num_windows(
        args.height,
        args.width,
        scales=config.eval.scales,
        base_size=config.eval.base_size,
        crop_size=config.eval.crop_size,
    )
    scale = config.data.input_scale
    forward = Forward.of(model, args.classes, normalise, config.model, scale)
    evaluator = Evaluator(forward, config.eval)
    loop = PlainLoop(model, config, args.classes)
    batched_s, batched = timed(
        evaluator.confusion, parallel.replicate(variables), examples
    )
    loop_s, looped = timed(loop.confusion, variables, examples)
    agreement = (
        1 - np.abs(batched.counts - looped.counts).sum() / 2 / looped.counts.sum()
    )
    rows = {
        "batched": {"windows/s": number / batched_s, "ratio": loop_s / batched_s},
        "loop": {"windows/s": number / loop_s, "ratio": 1.0},
    }
    print(f"{number} windows; equal counts {100 * agreement:.3f} %")
    title = f"windows of {args.crop}, {args.backbone}, {args.dtype}"
    measure.report(title, rows, vars(args) | {"agreement": float(agreement)})


if __name__ == "__main__":
    main()
