"""Missing rights, files where folders are wanted, and full disks."""

import json
import os
import pathlib

from fixtures import (
    CHECK,
    OLDER_REPORT,
    PREPARE,
    as_nobody,
    command,
    flags,
    folder_set,
    full_disk,
)
from registry import case

DENIED = "Permission denied"


def read_only(folder) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@case("8 unreadable image, check", 1, f"2.jpg: {DENIED}")
def image(root):
    folder_set(root / "r")
    (root / "r/val/images/2.jpg").chmod(0)
    yield as_nobody(root, command(CHECK, *flags(root / "r")))


@case("8 unreadable folder of images, check", (1, 2), DENIED)
def image_folder(root):
    folder_set(root / "r")
    (root / "r/val/images").chmod(0)
    yield as_nobody(root, command(CHECK, *flags(root / "r")))


@case("8 unreadable folder of images, train", 2, DENIED)
def train_folder(root):
    folder_set(root / "r")
    (root / "r/train/images").chmod(0)
    yield as_nobody(
        root, command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    )


@case("8 unreadable checkpoints, eval", 2, DENIED, "run")
def checkpoints(root):
    (root / "run/checkpoints").chmod(0)
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run"))


@case("8 unreadable checkpoint, predict", 2, DENIED, "run")
def checkpoint(root):
    (root / "run/checkpoints/0").chmod(0)
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield as_nobody(root, command("predict.py", f"--workdir={root}/run", *where))


@case("8 unreadable checksums, eval", 2, DENIED, "run")
def checksums(root):
    (root / "run/checkpoints/0/sha256.json").chmod(0)
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run"))


def below_unreadable(name: str, *words: str) -> None:
    """Registers a command on files in a folder that may not be entered."""

    @case(f"8 unreadable parent, {name}", (1, 2), DENIED, "run")
    def run(root):
        (root / "p").mkdir()
        for folder in ("run", "r"):
            (root / folder).rename(root / "p" / folder)
        (root / "p").chmod(0)
        yield as_nobody(root, command(*words))


moved = [
    f"--config.data.folder.{kind}=p/r/{{split}}/{kind}" for kind in ("images", "masks")
]
below_unreadable("eval", "eval.py", "--workdir=p/run")
below_unreadable("check", CHECK, *flags(pathlib.Path("r"), *moved))
below_unreadable("train", "train.py", *flags(pathlib.Path("r"), *moved), "--workdir=w")
below_unreadable("report html", "encnet_jax.report", "html", "p/run", "--output=x.html")


@case("8 an owner without a name, eval", 0, "pixel_accuracy", "run")
def nameless(root):
    if os.geteuid() == 0:  # Others cannot give their files away.
        for path in (root / "run").rglob("*"):
            os.chown(path, 54321, 54321)
    yield command("eval.py", f"--workdir={root}/run")


@case("8 read-only workdir, train", 2, DENIED, "run")
def train(root):
    read_only(root / "run")
    words = command("train.py", *flags(root / "r"), f"--workdir={root}/run")
    yield as_nobody(root, words)


@case("8 read-only parent of a new workdir, train", 2, DENIED)
def new_workdir(root):
    folder_set(root / "r")
    (root / "p").mkdir(mode=0o555)
    words = command("train.py", *flags(root / "r"), f"--workdir={root}/p/w")
    yield as_nobody(root, words)


@case("8 read-only --data_dir, prepare", 2, DENIED)
def prepare(root):
    import made_datasets

    made_datasets.pascal_voc(root / "s")
    (root / "d").mkdir(mode=0o555)
    words = "pascal_voc", f"--source={root}/s", f"--data_dir={root}/d"
    yield as_nobody(root, command(PREPARE, *words))


@case("8 read-only --output, export_images", 2, DENIED)
def export(root):
    folder_set(root / "r")
    (root / "o").mkdir(mode=0o555)
    words = *flags(root / "r"), "--count=2", f"--output={root}/o"
    yield as_nobody(root, command("encnet_jax.data.export_images", *words))


@case("8 read-only --output, predict", 2, DENIED, "run")
def predict(root):
    (root / "o").mkdir(mode=0o555)
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield as_nobody(root, command("predict.py", f"--workdir={root}/run", *where))


@case("8 --output is a file, predict", 2, "a file has this name", "run")
def file_for_folder(root):
    (root / "o").write_text("")
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)


@case("2 read-only workdir, eval", 2, DENIED, "run")
def evaluate(root):
    read_only(root / "run")
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run"))


@case("2 read-only workdir and --output, eval", 0, "pixel_accuracy", "run")
def elsewhere(root):
    read_only(root / "run")
    (root / "o").mkdir(mode=0o777)
    where = f"--output={root}/o"
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run", where))
    assert json.loads((root / "o/report.json").read_text())["images"] == 8


@case(
    "2 full disk, eval prints the scores", 2, "The scores above were not saved", "run"
)
def full_eval(root):
    (root / "run/report.json").write_text(OLDER_REPORT)
    yield full_disk(command("eval.py", f"--workdir={root}/run"), kib=1)
    assert (root / "run/report.json").read_text() == OLDER_REPORT
    assert not list((root / "run").glob(".partial*"))


@case("16 full disk, predict", (1, 2), "File too large", "run")
def full_predict(root):
    from PIL import Image

    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield full_disk(command("predict.py", f"--workdir={root}/run", *where), kib=1)
    for path in (root / "o").glob("*.png"):
        Image.open(path).load()  # What is there is whole.


@case("held full disk, train", 2, "failed (no space)")
def full_train(root):
    folder_set(root / "r")
    words = command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    yield full_disk(words, kib=64)
