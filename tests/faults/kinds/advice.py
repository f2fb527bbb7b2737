"""Messages that lead to the fix."""

import shlex

from fixtures import CHECK, command, flags, folder_set, named, program
from PIL import Image
from registry import case

BROKEN_TF = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            raise {error}

sys.meta_path.insert(0, Broken())
from encnet_jax import cli
import eval as command

cli.start(command.main)
"""

for name, error in {
    "ImportError": "ImportError('libcudart.so is missing')",
    "another error": "TypeError('Descriptors cannot be created directly')",
}.items():

    @case(
        f"advice TensorFlow fails with {name}, train", 2, "cannot be imported", "data"
    )
    def tensorflow(root, error=error):
        text = BROKEN_TF.format(error=error).replace(
            "import eval as command", "import train as command"
        )
        words = (
            named("camvid.py:tiny"),
            f"--config.data.data_dir={root}/d",
            f"--workdir={root}/w",
            *("--config.train.batch_size=2", "--config.train.total_steps=2"),
        )
        yield program(root, text, *words)


@case("advice a configuration in Latin-1 beside a mistyped name, train", 2, "camvd")
def latin(root):
    (root / "configs").mkdir()
    text = (
        '# -*- coding: latin-1 -*-\n"""Straßen."""\ndef get_config(words=""):\n  ...\n'
    )
    (root / "configs/strassen.py").write_bytes(text.encode("latin-1"))
    yield command("train.py", "--config=configs/camvd.py", f"--workdir={root}/w")


@case("advice total_steps changed, train", 2, "init_from", "run")
def longer(root):
    words = flags(root / "r", "--config.train.total_steps=1")
    train = shlex.join(command("train.py", *words, f"--workdir={root}/w"))
    more = flags(root / "r", "--config.train.total_steps=3")
    again = shlex.join(command("train.py", *more, f"--workdir={root}/w"))
    yield ["bash", "-c", f"{train} >/dev/null 2>&1 && {again}"]


def checked(name: str, status: int, says: str, change) -> None:
    """Registers the check of a folder set that was changed."""

    @case(f"advice {name}, check", status, says)
    def run(root):
        folder_set(root / "r")
        change(root / "r/train")
        yield command(CHECK, *flags(root / "r"))


def masks_255(split) -> None:
    for mask in split.parent.glob("*/masks/*.png"):
        Image.new("L", (64, 64)).save(mask)
        with Image.open(mask) as picture:
            picture.paste(255, (0, 0, 9, 9))
            picture.save(mask)


def deep_mask(split) -> None:
    Image.new("I;16", (64, 64), 300).save(split / "masks/3.png")


def other_suffixes(split) -> None:
    for number, name in ((2, "2.tif"), (3, "3.PNG")):
        old = split / f"masks/{number}.png"
        with Image.open(old) as mask:
            mask.copy().save(split / "masks" / f"new-{name}")
        old.unlink()
        (split / "masks" / f"new-{name}").rename(split / "masks" / name)


def unread(split) -> None:
    (split / "images/town").mkdir()
    (split / "images/9.avif").write_bytes(b"")
    (split / "masks/no_such_image.png").write_bytes(b"")


checked("masks of 0 and 255", 1, "have an ignored value", masks_255)
checked("a mask of 16 bits", 1, "more than 8 bits", deep_mask)
checked("masks called .tif and .PNG", 0, "no problems found", other_suffixes)
checked("files that nothing reads", 1, "are ignored; expected images", unread)


@case("advice Cityscapes of train ids only, prepare", 2, "labelIds.png")
def train_ids(root):
    for kind, end in (
        ("leftImg8bit", "leftImg8bit"),
        ("gtFine", "gtFine_labelTrainIds"),
    ):
        folder = root / "s" / kind / "train/aachen"
        folder.mkdir(parents=True)
        mode = "RGB" if kind == "leftImg8bit" else "L"
        Image.new(mode, (16, 16)).save(folder / f"aachen_0_0_{end}.png")
    words = "cityscapes", f"--source={root}/s", f"--data_dir={root}/d"
    yield command("encnet_jax.data.prepare", *words)


@case("advice the images have moved, eval", 0, "pixel_accuracy", "run")
def moved(root):
    (root / "r").rename(root / "there")
    words = flags(root / "there")
    yield command("eval.py", f"--workdir={root}/run", "--split=val", *words)


@case("advice the training images are gone, eval", 0, "pixel_accuracy", "run")
def without_training(root):
    (root / "r/train").rename(root / "gone")
    yield command("eval.py", f"--workdir={root}/run", "--split=val")
