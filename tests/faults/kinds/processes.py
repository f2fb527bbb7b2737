"""Several processes: where one alone has something wrong, all end, and soon."""

import json
import shutil
import sys

from fixtures import command, flags, folder_set, full_disk, run_file
from registry import case


def joined(*commands: list[str]) -> list[str]:
    """Returns the command that runs commands as processes of one run."""
    return [sys.executable, run_file("joined.py"), json.dumps(commands)]


def trains(root, *more: str, data: str = "r") -> list[str]:
    words = flags(root / data, "--config.train.batch_size=4", *more)
    return command("train.py", *words, f"--workdir={root}/w")


def all_refuse(root) -> None:
    assert not (root / "w/checkpoints").exists()


@case("held two processes, train", 0, "process 1 ended with 0")
def two(root):
    folder_set(root / "r")
    yield joined(trains(root), trains(root))


def differing(name: str, says: str, *more: str) -> None:
    """Registers a run whose process 1 has further flags."""

    @case(f"new {name} in process 1, train", 2, says)
    def run(root):
        folder_set(root / "r")
        yield joined(trains(root), trains(root, *more))
        all_refuse(root)


differing("another learning rate", "optim.base_lr is 0.5", "--config.optim.base_lr=0.5")
differing("another batch size", "train.batch_size is 8", "--config.train.batch_size=8")
differing("another seed", "seed is 7", "--config.seed=7")
differing(
    "checkpoints at other steps",
    "train.checkpoint_every_steps is 3",
    "--config.train.checkpoint_every_steps=3",
)
differing(
    "a wrong number", "this run failed in process 1", "--config.optim.momentum=5.0"
)


@case("new a mistyped field in process 1, train", 4, "no field")
def mistyped(root):
    folder_set(root / "r")
    # It ends before it could meet process 0, which waits for it.
    words = [*trains(root), "--peers_timeout_s=20"]
    yield joined(words, [*words, "--config.optim.momentun=0.5"])
    all_refuse(root)


@case("new data missing in process 1, train", 2, "this run failed in process 1")
def no_data(root):
    folder_set(root / "r")
    yield joined(trains(root), trains(root, data="nowhere"))
    all_refuse(root)


@case("new fewer images in process 1, train", 2, "images of train is 6 in process 1")
def fewer(root):
    folder_set(root / "r")
    shutil.copytree(root / "r", root / "q")
    for path in (root / "q/train").glob("*/[67].*"):
        path.unlink()
    yield joined(trains(root), trains(root, data="q"))
    all_refuse(root)


@case("new a broken image in process 1, train", 2, "cannot be decoded")
def broken(root):
    folder_set(root / "r")
    shutil.copytree(root / "r", root / "q")
    for path in (root / "q/train/images").glob("*"):
        path.write_bytes(b"no image")
    yield joined(trains(root), trains(root, data="q"))


@case("new a full disk in process 1, train", (2, 134), "failed (no space)")
def full(root):
    folder_set(root / "r")
    yield joined(trains(root), full_disk(trains(root), kib=64))


@case(
    "new another workdir in process 1, train", 2, "cannot read the files that process 0"
)
def own_folder(root):
    folder_set(root / "r")
    words = trains(root)
    yield joined(words, [*words[:-1], f"--workdir={root}/v"])


@case("new another protocol in process 1, eval", 2, "eval.protocol is", "run")
def protocols(root):
    words = command("eval.py", f"--workdir={root}/run")
    yield joined(words, [*words, "--protocol=multiscale"])
    assert not (root / "run/report.json").exists()


@case("new another split in process 1, eval", 2, "--split is 'train'", "run")
def splits(root):
    words = command("eval.py", f"--workdir={root}/run")
    yield joined(words, [*words, "--split=train"])
    assert not (root / "run/report.json").exists()


@case("new fewer images than processes, eval", 0, "1 images", "run")
def few(root):
    for path in (root / "r/val").glob("*/[1-7].*"):
        path.unlink()
    words = command("eval.py", f"--workdir={root}/run")
    yield joined(words, words)


@case("new the clock of process 1 a year behind, train", 0, "trained 4 steps")
def clocks(root):
    folder_set(root / "r")
    late = root / "late.py"
    late.write_text(LATE)
    words = trains(root)
    yield joined(words, [sys.executable, str(late), *words[2:]])


LATE = """
import time
from encnet_jax import cli

now = time.time
time.time = lambda: now() - 365 * 86400
import train
cli.start(train.main)
"""
