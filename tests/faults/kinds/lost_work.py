"""Finished work that was lost: validation before saving, arrays written elsewhere."""

import os

from fixtures import command, flags, folder_set, named, noise, program
from registry import case

from kinds.ends import SAVE_ALL, at_step


def steps_of(root) -> set[str]:
    return set(os.listdir(root / "w/checkpoints"))


def cmyk(path) -> None:
    noise("CMYK").save(path)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def wrong_id(path) -> None:
    from PIL import Image

    mask = path.parent.parent / "masks" / f"{path.stem}.png"
    Image.new("L", (64, 64), 77).save(mask)


for name, harm in {"CMYK": cmyk, "cut": cut, "with a wrong id": wrong_id}.items():

    @case(f"lost a validation image {name}, train", 2, "validation images cannot")
    def before(root, harm=harm):
        folder_set(root / "r")
        harm(root / "r/val/images/3.jpg")
        more = ("--config.data.max_unreadable_share=0.5",)
        yield command("train.py", *flags(root / "r", *more), f"--workdir={root}/w")
        assert not (root / "w").exists()


CUT = "[os.truncate(p, 99) for p in pathlib.Path('ROOT/r/val/images').glob('*')]"
GONE = "shutil.rmtree('ROOT/r/val/images')"
for name, statement in {"cut": CUT, "deleted": GONE}.items():

    @case(f"lost validation images {name} during a training", 2, "validation failed at")
    def during(root, statement=statement):
        yield at_step(root, 3, statement)
        assert "4" in steps_of(root)


FULL = "RESOURCE_EXHAUSTED: 17179869184 bytes"
NO_ROOM = (
    "import encnet_jax.train.validate as v; v.Validator.score = lambda *_:"
    f" (_ for _ in ()).throw(jax.errors.JaxRuntimeError('{FULL}'))"
)


@case("lost validation does not fit the device, train", 2, "validation failed at")
def no_room(root):
    yield at_step(root, 2, NO_ROOM)
    assert "4" in steps_of(root)


for name in ("train.py", "eval.py"):

    @case(f"lost a backslash in --workdir, {name}", 2, "contains a backslash")
    def backslash(root, name=name):
        folder_set(root / "r")
        words = flags(root / "r") if name == "train.py" else []
        yield command(name, *words, f"--workdir={root}/w\\x")
        assert {path.name for path in root.iterdir()} == {"r"}


@case("lost the workdir is moved during a training", 2, "")
def moved(root):
    statement = "os.rename('ROOT/w', 'ROOT/v'); os.makedirs('ROOT/w/checkpoints')"
    yield at_step(root, 3, statement, SAVE_ALL)


@case("lost the checkpoints are deleted during a training", (0, 2), "")
def deleted(root):
    yield at_step(root, 3, "shutil.rmtree('ROOT/w/checkpoints')", SAVE_ALL)


AGAIN = """
import resource
import sys

import jax.numpy as jnp
import optax

from encnet_jax import cli, config
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.train_state import TrainState


def main(argv):
    variables = {"params": {"w": jnp.ones((64, 64))}, "batch_stats": {}}
    state = TrainState.create(variables, optax.identity(), ema=False)
    state = parallel.replicate(state.replace(step=jnp.int32(1)))
    settings = config.resolve(config.load(argv[1].removeprefix("--config=")))
    try:
        with Checkpointer("w", keep=1) as checkpointer:
            checkpointer.save(state, settings)
            checkpointer.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
            state = state.replace(step=state.step + 1)
            checkpointer.save(state, settings)
            checkpointer.wait()
    except UserError:
        print("the latest step is", checkpointer.latest_step())


cli.start(main)
"""


@case(
    "lost a write fails in the background, latest step",
    0,
    "the latest step is 1",
    traceback=True,  # Of the thread that failed; Orbax logs it.
)
def again(root):
    yield program(root, AGAIN, named("quickstart.py:smoke"))
    assert "1" in steps_of(root) and "2" not in steps_of(root)
