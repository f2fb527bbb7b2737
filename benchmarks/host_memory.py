"""Checks that host memory does not grow during training and evaluation.

python -m benchmarks.host_memory [--steps 500] [--images 500] [--protocol single]

Trains a tiny network on generated scenes read through tf.data, then scores images. For
each part, compares the resident memory of the process at the end with that after a
warm-up of a fifth of the part. The exit status is 1 if it grew by more than 5 %.
"""

import argparse
import itertools
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from benchmarks import measure
from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.evaluate.loading import Selection, load
from encnet_jax.train import loop
from encnet_jax.train.logbook import Logbook

PROJECT = pathlib.Path(__file__).resolve().parent.parent

MOST_GROWTH = 5.0  # Percent.
WINDOW = 0.1  # A figure is the mean over this fraction of the samples.
WARM_UP = 0.2


def resident_mib() -> float:
    """Returns the resident memory of this process, as Linux reports it."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(items: Iterable, samples: list[float]) -> Iterator:
    """Yields items and records the memory at each item."""
    for item in items:
        samples.append(resident_mib())
        yield item


def train(workdir: str, args) -> list[float]:
    """Trains and returns the memory at each step."""
    config = config_lib.load(f"{PROJECT}/configs/quickstart.py:smoke")
    config.data.reader = "tfds"  # The pipeline of data sets in files.
    config.data.data_dir = f"{workdir}/data"
    config.train.total_steps = args.steps
    config.train.eval_every_epochs = 0.0
    config.train.checkpoint_every_steps = args.steps
    samples, step_done = [], Logbook.step_done

    def noted(self, step, state, metrics):
        samples.append(resident_mib())
        step_done(self, step, state, metrics)

    Logbook.step_done = noted
    loop.train(config, workdir)
    return samples


def evaluate(workdir: str, args) -> list[float]:
    """Scores the validation images repeatedly; returns the memory at each image."""
    evaluator, variables, config, _ = load(workdir, Selection(protocol=args.protocol))
    dataset, samples = tasks.open_dataset(config), []
    splits = itertools.repeat(config.data.val_split)
    endless = itertools.chain.from_iterable(map(dataset.eval_examples, splits))
    examples = watched(itertools.islice(endless, args.images), samples)
    evaluator.confusion(variables, examples, args.images)
    return samples


def growth(samples: list[float]) -> dict[str, float]:
    """Returns a row: MiB after the warm-up and at the end, growth in percent."""
    window, start = round(WINDOW * len(samples)), round(WARM_UP * len(samples))
    before = float(np.mean(samples[start : start + window]))
    after = float(np.mean(samples[-window:]))
    return {
        "MiB warmed up": before,
        "MiB at the end": after,
        "growth %": 100 * (after / before - 1),
    }


def main() -> int:
    """Trains and evaluates; prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--protocol", default="single")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as workdir:
        rows = {
            f"{args.steps} training steps": growth(train(workdir, args)),
            f"{args.images} evaluated images": growth(evaluate(workdir, args)),
        }
    measure.report("resident memory of the process", rows, vars(args))
    return int(max(row["growth %"] for row in rows.values()) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
