"""Images and masks: what check, training and the other readers make of strange ones."""

import os
import shlex
from collections.abc import Callable

from fixtures import (
    CHECK,
    bomb,
    command,
    deep,
    encoded,
    flags,
    folder_set,
    noise,
    turned,
)
from PIL import Image
from registry import case

EXPORT = "encnet_jax.data.export_images"


def one_image(name: str, content: Callable[[], bytes], statuses, says: str) -> None:
    """Registers check on a set of which one image is replaced."""

    @case(name, statuses, says)
    def run(root):
        folder_set(root / "r")
        (root / "r/val/images/3.jpg").write_bytes(content())
        yield command(CHECK, *flags(root / "r"))


for kind in ("WEBP", "BMP", "TIFF"):
    one_image(f"7 {kind} called .jpg, check", lambda k=kind: encoded(noise(), k), 0, "")
one_image(
    "3 16-bit grey, check",
    lambda: encoded(deep(), "PNG"),
    1,
    "3.jpg: has values of",
)
one_image(
    "23 mask fits the unturned image, check",
    lambda: turned(64, 32),
    1,
    "3.png: the mask has 64x64",
)
one_image("23 EXIF orientation, check", lambda: turned(64, 64), 0, "EXIF orientation")
one_image("6 empty image, check", lambda: b"", 1, "3.jpg: cannot be decoded")
one_image(
    "6 truncated image, check",
    lambda: encoded(noise(), "JPEG")[:500],
    1,
    "3.jpg: cannot be decoded",
)
one_image(
    "17 four channels, check",
    lambda: encoded(noise("RGBA"), "PNG"),
    1,
    "3.jpg: has channels RGBA",
)


def trained(name: str, content, statuses, says: str, reader: str = "tfds") -> None:
    """Registers training on a set of which every image has another content."""

    @case(f"{name}, train with {reader}", statuses, says)
    def run(root):
        folder_set(root / "r")
        for path in (root / "r").glob("*/images/*.jpg"):
            path.write_bytes(content())
        words = flags(root / "r", reader=reader)
        yield command("train.py", *words, f"--workdir={root}/w")


for reader in ("tfds", "arrays"):
    webp = lambda: encoded(noise(), "WEBP")  # noqa: E731
    trained("7 WebP called .jpg", webp, 0, "trained 4 steps", reader)
    trained(
        "3 16-bit grey", lambda: encoded(deep(), "PNG"), 2, "data.value_range", reader
    )


@case("3 16-bit grey, export_images", 2, "data.value_range")
def deep_export(root):
    folder_set(root / "r")
    for path in (root / "r").glob("*/images/*.jpg"):
        path.write_bytes(encoded(deep(), "PNG"))
    yield command(EXPORT, *flags(root / "r"), "--count=2", f"--output={root}/o")


@case("6 bomb, check", 1, "0.png: has 30000x30000 pixels")
def bomb_check(root):
    folder_set(root / "r")
    (root / "r/train/images/0.jpg").unlink()
    bomb(root / "r/train/images/0.png", 30000, 30000)
    yield command(CHECK, *flags(root / "r"))


@case("6 bomb, train", 2, "0.png: has 30000x30000 pixels")
def bomb_refused(root):
    folder_set(root / "r")
    (root / "r/train/images/0.jpg").unlink()
    bomb(root / "r/train/images/0.png", 30000, 30000)
    words = flags(root / "r", reader="tfds")
    yield command("train.py", *words, f"--workdir={root}/w")


@case("6 bomb, one unreadable allowed, train", 0, "0.png: has 30000x30000 pixels")
def bomb_train(root):
    folder_set(root / "r")
    (root / "r/train/images/0.jpg").unlink()
    bomb(root / "r/train/images/0.png", 30000, 30000)
    more = "--config.data.max_unreadable_share=0.5", "--config.data.val_split="
    yield command("train.py", *flags(root / "r", *more), f"--workdir={root}/w")


@case("6 bomb, eval", 2, "0.jpg: has 30000x30000 pixels", "run")
def bomb_eval(root):
    bomb(root / "r/val/images/0.jpg", 30000, 30000)
    yield command("eval.py", f"--workdir={root}/run")
    assert not (root / "run/report.json").exists()


@case("21 masks of 2 and of 4 bits, check", 0, "no problems found")
def few_bits(root):
    folder_set(root / "r")
    for i, bits in ((2, 2), (4, 4)):
        mask = Image.new("P", (64, 64), 1)
        mask.paste(0, (0, 0, 32, 64))
        mask.putpalette(bytes(range(48)))
        mask.save(root / f"r/val/masks/{i}.png", bits=bits)
    yield command(CHECK, *flags(root / "r"))


@case("21 hidden ._x.jpg of macOS, check", 0, "no problems found")
def hidden(root):
    folder_set(root / "r")
    (root / "r/val/images/._1.jpg").write_bytes(b"\0\5\26\7")
    yield command(CHECK, *flags(root / "r"))


@case("21 names that are not UTF-8, check", 1, "cannot be decoded")
def no_utf8(root):
    folder_set(root / "r")
    folder = os.fsencode(root / "r/val")
    for kind, end in ((b"images", b".jpg"), (b"masks", b".png")):
        with open(folder + b"/" + kind + b"/\xff" + end, "wb") as file:
            file.write(b"no image")
    yield command(CHECK, *flags(root / "r"))


@case("21 output read by head, check", 141)
def head(root):
    folder_set(root / "r")
    line = shlex.join(command(CHECK, *flags(root / "r")))
    yield ["bash", "-c", f"set -o pipefail; {line} | true"]


@case("held nine bad pairs in one run, check", 1, "8.png")
def nine_pairs(root):
    folder_set(root / "r", count=9)
    images, masks = root / "r/val/images", root / "r/val/masks"
    (images / "0.jpg").write_bytes(b"")
    (images / "1.jpg").write_bytes(encoded(noise(), "JPEG")[:500])
    (images / "2.jpg").write_bytes(b"<html>not found</html>")
    (images / "3.jpg").write_bytes(encoded(deep(), "PNG"))
    bomb(images / "4.jpg", 30000, 30000)
    (masks / "5.png").unlink()
    (masks / "6.png").write_bytes(b"no mask")
    Image.new("L", (64, 64), 9).save(masks / "7.png")
    Image.new("L", (32, 32)).save(masks / "8.png")
    output = root / "output"
    line = shlex.join(command(CHECK, *flags(root / "r")))
    yield ["bash", "-c", f"set -o pipefail; {line} 2>&1 | tee {output}"]
    said = output.read_text()
    for i in range(9):
        assert f"{i}.jpg" in said or f"{i}.png" in said or f"{i}:" in said, i
