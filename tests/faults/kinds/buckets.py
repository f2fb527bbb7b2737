"""Runs and data in a bucket whose store is slow, fails, or takes rights away."""

import sys

from fixtures import command, flags, folder_set, run_file
from registry import case


def beside_store(*words: str, **how) -> list[str]:
    """Returns a command that runs beside an object store; see bucket.py."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in how.items()]
    return [sys.executable, run_file("bucket.py"), *options, *words]


def train(root, **how) -> list[str]:
    folder_set(root / "r")
    words = command("train.py", *flags(root / "r"), "--workdir=gs://bucket/w")
    return beside_store(*words, **how)


@case("held a run in a bucket, train", 0, "trained 4 steps")
def sound(root):
    yield train(root)


@case("new no right to write to the bucket, train", 2, "gs://bucket/w")
def no_rights(root):
    yield train(root, rights_until=0)


@case("new the right to write is taken away, train", 2, "gs://bucket/w")
def rights_end(root):
    yield train(root, rights_until=12)


@case("new every twentieth request fails, train", 0, "trained 4 steps")
def failing(root):
    yield train(root, failing=0.05)


@case("new every request takes 0.3 s, train", 0, "trained 4 steps")
def slow(root):
    yield train(root, slow=0.3)


@case(
    "new a run in a bucket without the right to write, eval", 2, "--output DIR", "run"
)
def read_only(root):
    words = command("eval.py", "--workdir=gs://bucket/up")
    yield beside_store(*words, upload=f"{root}/run", rights_until=0)


@case("new pictures to a bucket without the right to write, predict", 2, "gs://", "run")
def pictures(root):
    where = f"--input={root}/r/val/images", "--output=gs://bucket/o"
    words = command("predict.py", f"--workdir={root}/run", *where)
    yield beside_store(*words, rights_until=0)
