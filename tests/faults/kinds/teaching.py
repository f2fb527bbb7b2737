"""Data that cannot teach, or that say nothing about new images."""

import shlex

from fixtures import CHECK, command, flags, folder_set, named
from PIL import Image
from registry import case


def fill_masks(root, value: int) -> None:
    for mask in (root / "r").glob("*/masks/*.png"):
        Image.new("L", (64, 64), value).save(mask)


def same_files(root) -> list[str]:
    return [f"--config.data.folder.{k}={root}/r/train/{k}" for k in ("images", "masks")]


def taught(name: str, statuses, says: str, change, *more: str) -> None:
    """Registers check and train on a set that was changed."""

    @case(f"{name}, check", *statuses[:1], says)
    def check(root):
        folder_set(root / "r")
        change(root)
        yield command(CHECK, *flags(root / "r", *more_of(root)))

    @case(f"{name}, train", *statuses[1:], says if statuses[1] else "")
    def train(root):
        folder_set(root / "r")
        change(root)
        words = flags(root / "r", *more_of(root))
        yield command("train.py", *words, f"--workdir={root}/w")
        assert statuses[1] == 0 or not (root / "w").exists()

    def more_of(root):
        return [word.replace("ROOT", str(root)) for word in more]


def nothing(root) -> None:
    """Leaves the set as it is."""


SAME = [f"--config.data.folder.{k}=ROOT/r/train/{k}" for k in ("images", "masks")]
NAMES = "--config.data.folder.class_names"
taught(
    "15 every mask 255", (1, 2), "every pixel is ignored", lambda r: fill_masks(r, 255)
)
taught("15 one class only", (1, 2), "only one of 2 classes", lambda r: fill_masks(r, 1))
taught("15 train and val the same files", (1, 2), "have the same files", nothing, *SAME)
taught(
    "15 two classes of one name", (2, 2), "has 'a' twice", nothing, f"{NAMES}=('a','a')"
)
taught(
    "15 a class without a pixel",
    (0, 0),
    "never occur: c",
    nothing,
    f"{NAMES}=('a','b','c')",
)


@case("21 images were added, train goes on", 2, "training images were added")
def added(root):
    folder_set(root / "r")
    train = shlex.join(command("train.py", *flags(root / "r"), f"--workdir={root}/w"))
    copies = "; ".join(
        f"cp r/train/{kind}/0.{end} r/train/{kind}/{i}.{end}"
        for kind, end in (("images", "jpg"), ("masks", "png"))
        for i in range(8, 12)
    )
    yield ["bash", "-c", f"{train} >/dev/null 2>&1 && ({copies}); {train}"]


@case("new a validation split that is not there, train", 2, "has no split")
def no_validation(root):
    folder_set(root / "r")
    config = named("quickstart.py:smoke"), "--config.data.val_split=nowhere"
    yield command("train.py", *config, f"--workdir={root}/w")
    assert not (root / "w").exists()
