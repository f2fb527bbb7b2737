"""The faults that were found, and what held: each a situation and a command.

A case is a generator: it prepares a folder, yields the command, and after the command
has ended looks at what it must not have touched. `CASES` maps a name that begins with
the number of the fault, or with 'held' or 'new', to (expected exit statuses, what the
last lines must say, generator).
"""

import hashlib
import json
import os
import pathlib
import shlex
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from fixtures import bomb, command, encoded, flags, folder_set
from PIL import Image

CHECK = "encnet_jax.data.check"
WEIGHTS = "encnet_jax.torch_weights"
PREPARE = "encnet_jax.data.prepare"


class Case(NamedTuple):
    """A situation.

    Attributes:
        statuses: exit statuses that are right.
        says: what standard output and error must contain.
        run: folder -> generator of the command.
        needs_run: whether folder/run must hold a checkpoint.
    """

    statuses: tuple[int, ...]
    says: str
    run: Callable[[pathlib.Path], Iterator[list[str]]]
    needs_run: bool


CASES: dict[str, Case] = {}


def case(name: str, statuses, says: str = "", *, needs_run: bool = False):
    """Registers a generator under a name."""
    several = (statuses,) if isinstance(statuses, int) else tuple(statuses)

    def register(run):
        assert name not in CASES
        CASES[name] = Case(several, says, run, needs_run)
        return run

    return register


def digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- Images and masks -----------------------------------------------------------------


def one_image(name: str, content: Callable[[], bytes], statuses, says: str) -> None:
    """Registers check on a set of which one image is replaced."""

    @case(name, statuses, says)
    def run(root):
        folder_set(root / "r")
        (root / "r/val/images/3.jpg").write_bytes(content())
        yield command(CHECK, *flags(root / "r"))


def noise(mode: str = "RGB", side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def deep() -> Image.Image:
    return Image.fromarray(np.asarray(noise("L")).astype(np.uint16) * 200)


def turned(width: int, height: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise().resize((width, height)), "JPEG", exif=exif)


for kind in ("WEBP", "BMP", "TIFF"):
    one_image(f"7 {kind} called .jpg, check", lambda k=kind: encoded(noise(), k), 0, "")
one_image("3 16-bit grey, check", lambda: encoded(deep(), "PNG"), 1, "3.jpg: values of")
one_image(
    "23 mask fits the unturned image, check",
    lambda: turned(64, 32),
    1,
    "3.png: the mask is 64x64",
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
    "3.jpg: channels RGBA",
)


@case("6 bomb, check", 1, "0.png: 30000x30000 pixels")
def bomb_check(root):
    folder_set(root / "r")
    (root / "r/train/images/0.jpg").unlink()
    bomb(root / "r/train/images/0.png", 30000, 30000)
    yield command(CHECK, *flags(root / "r"))


@case("6 bomb, one unreadable allowed, train", 0, "0.png: 30000x30000 pixels")
def bomb_train(root):
    folder_set(root / "r")
    (root / "r/train/images/0.jpg").unlink()
    bomb(root / "r/train/images/0.png", 30000, 30000)
    more = "--config.data.max_unreadable_share=0.5", "--config.data.val_split="
    yield command("train.py", *flags(root / "r", *more), f"--workdir={root}/w")


@case("8 unreadable image, check", 1, "2.jpg: Permission denied")
def rights_check(root):
    folder_set(root / "r")
    (root / "r/val/images/2.jpg").chmod(0)
    yield as_nobody(root, command(CHECK, *flags(root / "r")))


@case("15 every mask 255, check", 1, "every pixel is ignored")
def ignored_check(root):
    folder_set(root / "r")
    for mask in (root / "r").glob("*/masks/*.png"):
        Image.new("L", (64, 64), 255).save(mask)
    yield command(CHECK, *flags(root / "r"))


@case("15 every mask 255, train", 2, "every pixel is ignored")
def ignored_train(root):
    folder_set(root / "r")
    for mask in (root / "r").glob("*/masks/*.png"):
        Image.new("L", (64, 64), 255).save(mask)
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    assert not (root / "w").exists()


@case("15 train and val the same files, check", 1, "are the same files")
def same_files(root):
    folder_set(root / "r")
    same = [f"--config.data.folder.{k}={root}/r/train/{k}" for k in ("images", "masks")]
    yield command(CHECK, *flags(root / "r", *same))


@case("15 two classes of one name, check", 2, "has 'a' twice")
def names_twice(root):
    folder_set(root / "r")
    yield command(
        CHECK, *flags(root / "r", "--config.data.folder.class_names=('a','a')")
    )


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


# --- Numbers of the configuration -----------------------------------------------------

NUMBERS = """train.epochs=nan train.epochs=inf train.epochs=1e9 train.epochs=-3
train.eval_every_epochs=nan train.num_pictures=-1 seed=-1 model.num_codes=-1
model.head_channels=0 train.max_minutes=-1 eval.max_images=-1 model.dropout=1.5
optim.momentum=5.0 data.crop_size=1 data.input_scale=0.001 optim.base_lr=nan
data.augment.scale_min=3.0 data.augment.scale_max=0.0 data.max_megapixels=inf"""

for number in NUMBERS.split():
    field = number.partition("=")[0]

    @case(f"14 {number}, train", 2, field)
    def wrong_number(root, number=number):
        config = "--config=configs/quickstart.py:smoke"
        steps = "--config.train.total_steps=0"
        yield command(
            "train.py", config, steps, f"--config.{number}", f"--workdir={root}/w"
        )
        assert not (root / "w").exists()


@case("14 --count -1, export_images", 2, "count")
def negative_count(root):
    folder_set(root / "r")
    where = f"--output={root}/o"
    yield command(
        "encnet_jax.data.export_images", *flags(root / "r"), "--count=-1", where
    )


# --- Runs: evaluation, prediction, weights --------------------------------------------


def as_nobody(root: pathlib.Path, words: list[str]) -> list[str]:
    """Drops root's right to read and write everything."""
    root.chmod(0o777)
    caps = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={caps}", "--inh-caps=-all", *words]


def read_only(folder: pathlib.Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@case("2 read-only workdir, eval", 2, "Permission denied", needs_run=True)
def read_only_eval(root):
    read_only(root / "run")
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run"))


@case("2 read-only workdir and --output, eval", 0, "pixel_accuracy", needs_run=True)
def elsewhere_eval(root):
    read_only(root / "run")
    (root / "o").mkdir(mode=0o777)
    where = f"--output={root}/o"
    yield as_nobody(root, command("eval.py", f"--workdir={root}/run", where))
    assert json.loads((root / "o/report.json").read_text())["images"] == 8


@case("8 read-only --output, predict", 2, "Permission denied", needs_run=True)
def read_only_predict(root):
    (root / "o").mkdir(mode=0o555)
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield as_nobody(root, command("predict.py", f"--workdir={root}/run", *where))


@case("8 --output is a file, predict", 2, "there is a file", needs_run=True)
def file_predict(root):
    (root / "o").write_text("")
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)


@case("8 read-only workdir, train", 2, "Permission denied", needs_run=True)
def read_only_train(root):
    read_only(root / "run")
    yield as_nobody(
        root, command("train.py", *flags(root / "r"), f"--workdir={root}/run")
    )


@case("5 output = input, predict", 2, "is the folder of the images", needs_run=True)
def into_itself(root):
    own = root / "r/val/images/0_ids.png"
    Image.new("L", (64, 64)).save(own)
    before = digest(own)
    where = f"--input={root}/r/val/images", f"--output={root}/r/val/images"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert digest(own) == before


@case("5 results are there, predict", 2, "--overwrite", needs_run=True)
def results_there(root):
    (root / "o").mkdir()
    (root / "o/0_ids.png").write_bytes(b"edited")
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert (root / "o/0_ids.png").read_bytes() == b"edited"


@case("6 bomb beside good images, predict", 1, "b.png: 30000x30000", needs_run=True)
def bomb_predict(root):
    (root / "p").mkdir()
    bomb(root / "p/b.png", 30000, 30000)
    noise().save(root / "p/good.jpg")
    where = f"--input={root}/p", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert len(list((root / "o").iterdir())) == 3


def damaged_weights(root: pathlib.Path, change) -> pathlib.Path:
    """Writes the run's weights as .safetensors, every array changed."""
    import safetensors.numpy as files

    from encnet_jax.checkpoints import read
    from encnet_jax.torch_weights import families, state_dicts

    variables, config = read.restore_variables(str(root / "run"))
    family = families.find("authors")
    arrays = state_dicts.to_state_dict(variables, config.model, family)
    changed = {k: change(k, np.array(v)) for k, v in arrays.items()}
    files.save_file(changed, root / "changed.safetensors")
    return root / "changed.safetensors"


def import_changed(name: str, says: str, change) -> None:
    @case(name, 2, says, needs_run=True)
    def run(root):
        source = f"--source={damaged_weights(root, change)}"
        yield command(
            WEIGHTS, "import", *flags(root / "r"), source, f"--workdir={root}/i"
        )
        assert not (root / "i/checkpoints").exists()


def one_infinite(name, array):
    if name.endswith("conv1.weight"):
        array.flat[0] = np.inf
    return array


import_changed(
    "4 NaN weights, import",
    "are NaN or infinite",
    lambda _, x: np.full_like(x, np.nan) if x.dtype == np.float32 else x,
)
import_changed(
    "4 weights beyond float32, import",
    "too large for float32",
    lambda _, x: np.full(x.shape, 1e300) if x.dtype == np.float32 else x,
)
import_changed(
    "4 negative variances, import",
    "has the variance",
    lambda name, x: x - 9 if name.endswith("running_var") else x,
)


@case("17 leftover of a killed save, import", 0, "wrote", needs_run=True)
def leftover_import(root):
    source = f"--source={damaged_weights(root, lambda _, x: x)}"
    (root / "i/checkpoints/2.orbax-checkpoint-tmp").mkdir(parents=True)
    yield command(WEIGHTS, "import", *flags(root / "r"), source, f"--workdir={root}/i")


@case("17 used workdir, import", 2, "choose another --workdir", needs_run=True)
def used_import(root):
    source = f"--source={damaged_weights(root, lambda _, x: x)}"
    yield command(
        WEIGHTS, "import", *flags(root / "r"), source, f"--workdir={root}/run"
    )


@case("19 a zip that is broken, import", 2, "is not a readable", needs_run=True)
def broken_zip(root):
    (root / "w.pth").write_bytes(b"PK\3\4" + bytes(300) + b"PK\5\6" + bytes(18))
    source = f"--source={root}/w.pth"
    yield command(WEIGHTS, "import", *flags(root / "r"), source, f"--workdir={root}/i")


def damaged_checkpoint(name: str, statuses, says: str, damage) -> None:
    @case(name, statuses, says, needs_run=True)
    def run(root):
        damage(root / "run/checkpoints/0")
        yield command("eval.py", f"--workdir={root}/run")
        assert not (root / "run/report.json").exists()


def flip(step: pathlib.Path) -> None:
    files = [p for p in step.rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


damaged_checkpoint("held flipped byte, eval", 2, "has changed since", flip)
damaged_checkpoint(
    "21 checksums are null, eval",
    2,
    "lists no files",
    lambda step: (step / "sha256.json").write_text("null"),
)
damaged_checkpoint(
    "21 checksums are {}, eval",
    2,
    "lists no files",
    lambda step: (step / "sha256.json").write_text("{}"),
)


@case("11 a step damaged twice, train", (0, 2), "", needs_run=True)
def twice_damaged(root):
    steps = root / "run/checkpoints"
    shutil.copytree(steps / "0", steps / "40")
    (steps / "40.damaged").mkdir()
    flip(steps / "40")
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/run")
    assert (steps / "40.damaged-2").is_dir()


@case("21 --checkpoint=², eval", 2, "wanted a step or 'best'", needs_run=True)
def superscript(root):
    yield command("eval.py", f"--workdir={root}/run", "--checkpoint=²")


@case("21 JAX_PLATFORMS=cuda without a GPU, eval", 2, "JAX finds none", needs_run=True)
def no_device(root):
    words = command("eval.py", f"--workdir={root}/run")
    yield ["env", "JAX_PLATFORMS=cuda", *words]


# --- Preparation ----------------------------------------------------------------------


@case("20 links to itself, prepare", 2, "wanted folders train and trainannot")
def loops(root):
    (root / "s").mkdir()
    for name in ("a", "b"):
        (root / "s" / name).symlink_to(".")
    places = f"--source={root}/s", f"--data_dir={root}/d"
    yield command(PREPARE, "camvid", *places)


@case("18 zip bomb, prepare", 2, "wanted an image or a list of at most")
def zip_bomb(root):
    import zipfile

    with zipfile.ZipFile(root / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, end in (("train", "jpg"), ("trainannot", "png")):
            with archive.open(f"CamVid/{folder}/a.{end}", "w", force_zip64=True) as out:
                for _ in range(300):
                    out.write(bytes(1 << 20))
    places = f"--source={root}/b.zip", f"--data_dir={root}/d"
    yield command(PREPARE, "camvid", *places)
    assert not list((root / "d").rglob("*.array_record*"))


@case("12 random bytes as .npz, train", 2, "wanted arrays")
def random_npz(root):
    (root / "d/camvid").mkdir(parents=True)
    (root / "d/camvid/a.npz").write_bytes(np.random.default_rng(0).bytes(999))
    config = "--config=configs/camvid.py:tiny", "--config.data.reader=arrays"
    place = f"--config.data.data_dir={root}/d"
    yield command("train.py", *config, place, f"--workdir={root}/w")


@case("12 .npz of objects, check", 2, "Object arrays cannot be loaded")
def object_npz(root):
    (root / "d/camvid").mkdir(parents=True)
    objects = np.array([{}, []], object)
    np.savez(root / "d/camvid/a.npz", train_images=objects, train_labels=objects)
    config = "--config=configs/camvid.py:tiny", "--config.data.reader=arrays"
    yield command(CHECK, *config, f"--config.data.data_dir={root}/d")


# --- Ends -----------------------------------------------------------------------------


@case("1 the step fails as on a full device, train with tf.data", 2, "out of memory")
def full_device(root):
    yield failing_step(root, FULL)


def failing_step(root: pathlib.Path, statement: str) -> list[str]:
    """Returns train.py's command, with a step that fails."""
    folder_set(root / "r")
    program = root / "failing.py"
    program.write_text(FAILING.replace("FAIL", statement))
    words = [*flags(root / "r", reader="tfds"), f"--workdir={root}/w"]
    return [*command("x.py")[:1], str(program), *words]


FULL = "raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 17179869184 bytes')"
FAILING = """
import jax
from encnet_jax import cli
import train
from encnet_jax.train import loop

def parallel_step(*args, **kwargs):
    def step(state, batch):
        FAIL
    return step

loop.parallel_step = parallel_step
cli.start(train.main)
"""


@case("1 an unexpected error, train with tf.data", 1, "ZeroDivisionError")
def unexpected(root):
    yield failing_step(root, "1 / 0")


# --- What was not tried before --------------------------------------------------------


def archive(root: pathlib.Path, kind: str) -> pathlib.Path:
    """Returns an archive of a small CamVid."""
    for split in ("train", "val"):
        for folder, end in ((split, "png"), (f"{split}annot", "png")):
            (root / "s/CamVid" / folder).mkdir(parents=True, exist_ok=True)
            for i in range(2):
                picture = Image.new("L", (32, 24), i)
                picture.save(root / "s/CamVid" / folder / f"{i}.{end}")
    return pathlib.Path(shutil.make_archive(str(root / "a"), kind, root / "s"))


def damaged_archive(name: str, kind: str, says: str, damage) -> None:
    @case(f"new {name}, prepare", 2, says)
    def run(root):
        path = archive(root, kind)
        path.write_bytes(damage(path.read_bytes()))
        yield command(PREPARE, "camvid", f"--source={path}", f"--data_dir={root}/d")
        assert not list((root / "d").rglob("*.array_record*"))


damaged_archive("truncated zip", "zip", "cannot be read", lambda x: x[: len(x) // 2])
damaged_archive("truncated tar", "tar", "", lambda x: x[:1500])
damaged_archive("truncated tar.gz", "gztar", "cannot be read", lambda x: x[:-40])
damaged_archive("text called .zip", "zip", "cannot be read", lambda _: b"text")
damaged_archive("no bytes called .tar", "tar", "cannot be read", lambda _: b"")


@case("new another data set's archive, prepare", 2, "wanted leftImg8bit/train/CITY")
def other_archive(root):
    path = archive(root, "zip")
    yield command(PREPARE, "cityscapes", f"--source={path}", f"--data_dir={root}/d")


@case("new COCO's list without its images, prepare", 2, "is not in train2017")
def coco_without_images(root):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": []}],
    }
    (root / "s").mkdir()
    (root / "s/instances_train2017.json").write_text(json.dumps(content))
    yield command(PREPARE, "coco_voc", f"--source={root}/s", f"--data_dir={root}/d")


@case("new CIFAR labels of an eleventh class, check", 2, "up to 10")
def cifar_labels(root):
    (root / "d/cifar10").mkdir(parents=True)
    for split in ("train", "test"):
        images, labels = np.zeros((20, 32, 32, 3), np.uint8), np.full(20, 10, np.uint8)
        np.savez(root / f"d/cifar10/{split}.npz", images=images, labels=labels)
    config = "--config=configs/cifar10.py", "--config.data.reader=arrays"
    yield command(CHECK, *config, f"--config.data.data_dir={root}/d")


for report in ("compare", "curves"):

    @case(f"new no run, report {report}", 2, "nowhere")
    def no_run(root, report=report):
        where = f"--output={root}/x.png"
        yield command("encnet_jax.report", report, f"{root}/nowhere", where)


@case("new unknown field, sweep", 2, "loss.nothing")
def sweep_field(root):
    config = "--config=configs/quickstart.py:smoke"
    words = "--field=loss.nothing", "--values=1,2", f"--workdir={root}/w"
    yield command("encnet_jax.sweep", config, *words)


@case("new unknown topology, plan", 2, "v99:2x2")
def plan_topology(root):
    config = "--config=configs/quickstart.py:smoke"
    yield command("encnet_jax.plan", config, "--topology=v99:2x2")


@case("new unwritable compilation cache, eval", 0, "pixel_accuracy", needs_run=True)
def unwritable_cache(root):
    (root / "cache").mkdir(mode=0o555)
    words = command("eval.py", f"--workdir={root}/run")
    cache = f"JAX_COMPILATION_CACHE_DIR={root}/cache"
    yield as_nobody(root, ["env", cache, *words])


@case("new fewer images than devices, eval", 0, "8 images", needs_run=True)
def few_images(root):
    devices = "XLA_FLAGS=--xla_force_host_platform_device_count=16"
    yield ["env", devices, *command("eval.py", f"--workdir={root}/run")]
