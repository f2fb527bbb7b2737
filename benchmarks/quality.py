"""Time of an evaluation with all scores against one with the confusion matrix only.

python -m benchmarks.quality [--images 100 --height 360 --width 480 --protocol single]

Generated images, labels of large patches, and the network of configs/camvid.py with
random weights. The scores are those of `eval.py`: boundaries, calibration, presence of
classes and single images.
"""

import argparse
import resource

import jax
import numpy as np

from benchmarks import measure
from benchmarks.evaluation import make_variables
from configs import camvid
from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.pods import parallel
from encnet_jax.preprocess import normalise
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.image_scores import ImageScores
from encnet_jax.scoring.quality import Quality

PATCH_PX = 24  # Side of a patch of one class.
NUM_CLASSES = 11
CLASS_NAMES = tuple(f"class {i}" for i in range(NUM_CLASSES))


def make_examples(count: int, height: int, width: int) -> list[dict]:
    """Returns noise images uint8[H, W, 3] and labels uint8[H, W] of square patches."""
    rng = np.random.default_rng(0)
    patches = (count, -(-height // PATCH_PX), -(-width // PATCH_PX))
    coarse = rng.integers(0, NUM_CLASSES, patches, np.uint8)
    labels = coarse.repeat(PATCH_PX, axis=1).repeat(PATCH_PX, axis=2)
    return [
        {
            "image": rng.integers(0, 256, (height, width, 3), np.uint8),
            "label": np.ascontiguousarray(label[:height, :width]),
            "id": str(number),
        }
        for number, label in enumerate(labels)
    ]


def peak_mib() -> float:
    """Returns the largest memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints a table, then the same as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--protocol", default="single")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = camvid.get_config()
    config.eval.protocol = args.protocol
    config = config_lib.resolve(config)
    model = models.build(config.model, NUM_CLASSES)
    variables = parallel.replicate(make_variables(model))
    forward = Forward.of(
        model, NUM_CLASSES, normalise, config.model, config.data.input_scale
    )
    plain = Evaluator(forward, config.eval)
    full = Evaluator(forward, config.eval, with_calibration=True)
    examples = make_examples(args.images, args.height, args.width)

    def with_all_scores():
        quality = Quality(NUM_CLASSES)
        watches = (ImageScores().add, quality.add)
        full.confusion(variables, examples, watches=watches)
        quality.summary(CLASS_NAMES)

    candidates = {
        "confusion matrix only": lambda: plain.confusion(variables, examples),
        "all scores": with_all_scores,
    }
    measure.alternate(candidates, 0)
    before = peak_mib()
    seconds = measure.alternate(candidates, args.repeats)
    rows = measure.summarise(seconds, "confusion matrix only")
    print(f"peak memory grew by {peak_mib() - before:.0f} MiB after the first round")
    title = f"{args.images} images of {args.height} x {args.width}, {args.protocol}"
    measure.report(title, rows, vars(args) | {"devices": jax.local_device_count()})


if __name__ == "__main__":
    main()
