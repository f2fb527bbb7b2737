"""Damaged checkpoints, and runs that others write to."""

import os
import pathlib
import shlex
import shutil

import numpy as np
from fixtures import command, flags, named, program
from registry import case


def flip(step) -> None:
    """Flips one bit of a checkpoint's largest file."""
    files = [p for p in step.rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def damaged(name: str, says: str, damage, *more: str) -> None:
    """Registers the evaluation of a run whose only checkpoint is damaged."""

    @case(f"{name}, eval", 2, says, "run")
    def run(root):
        damage(root / "run/checkpoints/0")
        yield command("eval.py", f"--workdir={root}/run", *more)
        assert not (root / "run/report.json").exists()
        assert (root / "run/checkpoints/0").exists()


def sums(text: str):
    return lambda step: (step / "sha256.json").write_text(text)


def resealed(name: str, text: str):
    """Replaces a file's contents and writes the checksums again."""

    def change(step) -> None:
        from etils import epath

        from encnet_jax.checkpoints import integrity

        (step / name).write_text(text)
        integrity.seal(epath.Path(step))

    return change


CHANGED = "has changed since"
damaged("held flipped byte", CHANGED, flip)
damaged("held missing folder", "variables", lambda s: shutil.rmtree(s / "variables"))
damaged("held truncated checksums", "sha256.json", sums('{"a": [5'))
damaged("21 checksums are null", "lists no files", sums("null"))
damaged("21 checksums are {}", "lists no files", sums("{}"))
damaged(
    "foreign checkpoint: no list of items",
    "_CHECKPOINT_METADATA is missing",
    lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
)
damaged(
    "foreign checkpoint: a list for the configuration, with right checksums",
    "does not contain the expected configuration",
    resealed("config/metadata", "[]"),
)
damaged("21 the damaged step is asked for", CHANGED, flip, "--checkpoint=0")


@case("4 a checkpoint of NaN, eval", 2, "NaN or infinite", "run")
def not_finite(root):
    import jax

    from encnet_jax.checkpoints import read

    variables, config = read.restore_variables(str(root / "run"))
    nan = jax.tree.map(lambda x: np.full_like(x, np.nan), variables)
    shutil.rmtree(root / "run/checkpoints")
    read.save_variables(str(root / "run"), nan, config)
    yield command("eval.py", f"--workdir={root}/run")
    assert not (root / "run/report.json").exists()


def trained_again(root, *, broken) -> list[str]:
    """Trains four steps, saving each second one; damages; returns the same command."""
    words = *flags(root / "r"), "--config.train.checkpoint_every_steps=2"
    line = shlex.join(command("train.py", *words, f"--workdir={root}/w"))
    here = [str(folder) for folder in pathlib.Path(__file__).resolve().parents[1:3]]
    harm = f"import pathlib, sys; sys.path[:0] = {here}\n"
    harm += "from kinds import checkpoints\n"
    for step in broken:
        folder = f"{root}/w/checkpoints/{step}"
        harm += f"checkpoints.flip(pathlib.Path({folder!r}))\n"
    again = shlex.join(program(root, harm))
    return ["bash", "-c", f"{line} >/dev/null 2>&1 && {again} && {line}"]


@case("held the newest of two damaged, train goes on", 0, "resuming from 2", "run")
def older(root):
    yield trained_again(root, broken=(4,))
    assert {"2", "4", "4.damaged"} <= set(os.listdir(root / "w/checkpoints"))


@case("held all damaged, train", 2, "", "run")
def none_whole(root):
    yield trained_again(root, broken=(2, 4))
    assert not list((root / "w/checkpoints").glob("*.damaged*"))


@case("11 a step damaged twice, train", (0, 2), "", "run")
def twice_damaged(root):
    steps = root / "run/checkpoints"
    shutil.copytree(steps / "0", steps / "40")
    (steps / "40.damaged").mkdir()
    flip(steps / "40")
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/run")
    assert (steps / "40.damaged-2").is_dir()


@case("held config.json broken, eval", 0, "pixel_accuracy", "run")
def broken_config(root):
    (root / "run/config.json").write_text("{")
    yield command("eval.py", f"--workdir={root}/run")


@case("21 --checkpoint=², eval", 2, "expected a step, 'best' or 'newest'", "run")
def superscript(root):
    yield command("eval.py", f"--workdir={root}/run", "--checkpoint=²")


@case("10 eval beside a training that rotates fast", 0, "rotated: ")
def rotating(root):
    words = named("quickstart.py:smoke"), "--config.train.total_steps=60"
    words += "--config.train.checkpoint_every_steps=1", "--config.data.val_split="
    words += ("--config.train.keep_checkpoints=1", f"--workdir={root}/w")
    train = shlex.join(command("train.py", *words))
    score = shlex.join(
        command("eval.py", f"--workdir={root}/w", "--split=val", f"--output={root}/o")
    )
    there = f"ls {root}/w/checkpoints/*/sha256.json >/dev/null 2>&1"
    three = f"for i in 1 2 3; do {score} || s=$?; done"
    end = "wait; echo rotated: ${s:-0}; test ${s:-0} = 0 -o ${s:-0} = 2"
    awaited = f"{train} >/dev/null 2>&1 & until {there}; do sleep 0.2; done"
    yield ["bash", "-c", f"{awaited}; {three}; {end}"]


@case("held two trainings in one workdir", 2, "another run is using", "run")
def two_trainings(root):
    words = command("train.py", *flags(root / "r"), f"--workdir={root}/run")
    yield ["flock", f"{root}/run/.lock", *words]


@case("held two evaluations at once", 0, "pixel_accuracy", "run")
def two_evaluations(root):
    line = shlex.join(command("eval.py", f"--workdir={root}/run"))
    yield ["bash", "-c", f"{line} & first=$!; {line} && wait $first"]
