"""predict.py: strange images, results that are there, too little memory."""

from fixtures import bomb, command, deep, encoded, noise, program, turned
from PIL import Image
from registry import case, digest


def predicted(root, folder, *more: str) -> list[str]:
    where = f"--input={folder}", f"--output={root}/o"
    return command("predict.py", f"--workdir={root}/run", *where, *more)


@case("5 output = input, predict", 2, "is the folder of the images", "run")
def into_itself(root):
    own = root / "r/val/images/0_ids.png"
    Image.new("L", (64, 64)).save(own)
    before = digest(own)
    where = f"--input={root}/r/val/images", f"--output={root}/r/val/images"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert digest(own) == before


@case("5 results are there, predict", 2, "--overwrite", "run")
def results_there(root):
    (root / "o").mkdir()
    (root / "o/0_ids.png").write_bytes(b"edited")
    yield predicted(root, root / "r/val/images")
    assert (root / "o/0_ids.png").read_bytes() == b"edited"


@case("6 bomb beside good images, predict", 1, "b.png: 30000x30000", "run")
def bomb_beside(root):
    (root / "p").mkdir()
    bomb(root / "p/b.png", 30000, 30000)
    noise().save(root / "p/good.jpg")
    yield predicted(root, root / "p")
    # Three of the image, the list of classes and its legend.
    assert len(list((root / "o").iterdir())) == 5


@case("6 a PNG without its header's end, predict", 1, "cut.png", "run")
def cut_header(root):
    (root / "p").mkdir()
    (root / "p/cut.png").write_bytes(encoded(noise(), "PNG")[:20])
    noise().save(root / "p/good.jpg")
    yield predicted(root, root / "p")
    # Three of the image, the list of classes and its legend.
    assert len(list((root / "o").iterdir())) == 5


@case("23 EXIF orientation, predict", 0, "", "run")
def orientation(root):
    (root / "p").mkdir()
    (root / "p/turned.jpg").write_bytes(turned(96, 64))
    yield predicted(root, root / "p")
    assert Image.open(root / "o/turned_overlay.png").size == (64, 96)


@case("21 hidden ._x.jpg of macOS, predict", 0, "", "run")
def hidden(root):
    (root / "p").mkdir()
    (root / "p/._x.jpg").write_bytes(b"\0\5\26\7")
    noise().save(root / "p/x.jpg")
    yield predicted(root, root / "p")


@case("held eighteen strange files, predict", 1, "bad7.png", "run")
def eighteen(root):
    (root / "p").mkdir()
    good = {
        "cmyk.jpg": encoded(noise("CMYK"), "JPEG"),
        "palette.png": encoded(noise("P"), "PNG"),
        "rgba.png": encoded(noise("RGBA"), "PNG"),
        "la.png": encoded(noise("LA"), "PNG"),
        "grey.png": encoded(noise("L"), "PNG"),
        "one.png": encoded(noise("1"), "PNG"),
        "progressive.jpg": encoded(noise(), "JPEG", progressive=True),
        "webp.jpg": encoded(noise(), "WEBP"),
        "tiff.png": encoded(noise(), "TIFF"),
        "1x1.png": encoded(noise(side=1), "PNG"),
    }
    bad = [
        b"",
        b"<html>",
        encoded(noise(), "JPEG")[:300],
        encoded(noise(), "PNG")[:300],
        encoded(deep(), "PNG"),
        encoded(noise(), "PNG")[:20],
        bytes(5000),
    ]
    for name, content in good.items():
        (root / "p" / name).write_bytes(content)
    for i, content in enumerate(bad):
        (root / f"p/bad{i}.png").write_bytes(content)
    bomb(root / "p/bad7.png", 30000, 30000)
    yield predicted(root, root / "p")
    names = {path.name for path in (root / "o").glob("*_ids.png")}
    assert not any(name.startswith("bad") for name in names), names
    assert len(names) >= 8, names  # Four channels are refused: CMYK, RGBA.


@case("9 batches of one image, predict", 0, "", "run")
def one_by_one(root):
    yield predicted(root, root / "r/val/images", "--batch_size=1")


@case("9 an image that does not fit, predict", 1, "5: 200x200 pixels", "run")
def no_room(root):
    (root / "p").mkdir()
    for i in range(4):
        noise().save(root / f"p/{i}.jpg")
    noise(side=200).save(root / "p/5.jpg")
    words = predicted(root, root / "p")[2:]
    yield [*program(root, NO_ROOM), *words]
    assert len(list((root / "o").glob("*_ids.png"))) == 4


NO_ROOM = """
import jax
from encnet_jax import cli
from encnet_jax.commands import predict
from encnet_jax.scoring.protocols.whole_images import WholeImages

describe = WholeImages.describe

def too_large(self, variables, examples):
    examples = list(examples)
    if any(max(e["image"].shape) > 128 for e in examples):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 17179869184 bytes")
    return describe(self, variables, examples)

WholeImages.describe = too_large
cli.start(predict.main)
"""
