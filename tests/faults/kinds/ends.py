"""Errors in the middle of a training: it ends, and soon, and says why."""

import shutil

from fixtures import flags, folder_set, program
from registry import case

AT_STEP = """
import itertools, os, pathlib, shutil, time
import jax
from encnet_jax import cli
import train
from encnet_jax.train import loop

made = loop.parallel_step

def parallel_step(*args, **kwargs):
    step, numbers = made(*args, **kwargs), itertools.count(1)

    def failing(state, batch):
        if next(numbers) == {step}:
            {statement}
        return step(state, batch)

    return failing

loop.parallel_step = parallel_step
cli.start(train.main)
"""


def at_step(
    root, step: int, statement: str, *more: str, reader: str = "arrays"
) -> list[str]:
    """Returns train.py's command; before a step a statement runs."""
    folder_set(root / "r")
    words = flags(root / "r", *more, reader=reader)
    text = AT_STEP.format(step=step, statement=statement.replace("ROOT", str(root)))
    return program(root, text, *words, f"--workdir={root}/w")


FULL = "raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 17179869184 bytes')"
SAVE_ALL = "--config.train.checkpoint_every_steps=1"


@case("1 the step fails as on a full device, train with tf.data", 2, "out of memory")
def full_device(root):
    yield at_step(root, 1, FULL, reader="tfds")


@case(
    "1 an unexpected error, train with tf.data", 1, "ZeroDivisionError", traceback=True
)
def unexpected(root):
    yield at_step(root, 2, "1 / 0", reader="tfds")


@case("21 the workdir is deleted, train", 2, "was deleted")
def deleted(root):
    yield at_step(root, 3, "time.sleep(3); shutil.rmtree('ROOT/w')", SAVE_ALL)
    saved_anew(root)


@case("21 the workdir is deleted before anything is saved, train", 2, "was deleted")
def deleted_at_once(root):
    yield at_step(root, 2, "shutil.rmtree('ROOT/w')")
    saved_anew(root)


def saved_anew(root) -> None:
    assert list((root / "w/checkpoints").glob("*/sha256.json"))


@case("new the images are deleted, train", 2, "No such file")
def no_more_images(root):
    statement = "[p.unlink() for p in pathlib.Path('ROOT/r/train/images').glob('*')]"
    more = "--config.train.total_steps=400", "--config.train.log_every_steps=100"
    yield at_step(root, 2, statement, *more)


@case("held the clock goes back a year, train", 0, "trained 4 steps")
def clock(root):
    statement = "now = time.time; time.time = lambda: now() - 365 * 86400"
    yield at_step(root, 3, statement, SAVE_ALL)


@case("held the loss becomes NaN, train", 3, "", "run")
def diverges(root):
    yield at_step(root, 99, "pass", "--config.optim.base_lr=1e15", SAVE_ALL)
    shutil.rmtree(root / "w")
