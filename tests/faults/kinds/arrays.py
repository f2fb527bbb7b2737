"""Prepared data that are damaged: records, their description, arrays."""

import numpy as np
from fixtures import CHECK, command, named
from registry import case


def read(root, config: str = "camvid", *more: str, program: str = CHECK) -> list[str]:
    place = f"--config.data.data_dir={root}/d"
    return command(program, named(f"{config}.py"), place, *more)


def records(root) -> list:
    return sorted((root / "d").rglob("*.array_record*"))


@case("12 flipped byte of an array_record, check", 1, "cannot be read", "data")
def flipped(root):
    path = records(root)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    yield read(root)


@case("12 flipped byte of an array_record, train", 2, "cannot be read", "data")
def flipped_train(root):
    for path in records(root):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    more = "--config.data.val_split=", f"--workdir={root}/w"
    yield read(root, "camvid", *more, *TINY, program="train.py")


TINY = (
    "--config.train.total_steps=2",
    "--config.train.batch_size=2",
    "--config.train.num_pictures=0",
    "--config.init_from=",
    "--config.data.crop_size=32",
)


@case("12 truncated array_record, check", (1, 2), "cannot be read", "data")
def truncated(root):
    path = records(root)[0]
    path.write_bytes(path.read_bytes()[:-40])
    yield read(root)


@case("12 missing array_record, check", (1, 2), "array_record", "data")
def missing(root):
    records(root)[0].unlink()
    yield read(root)


@case("12 broken dataset_info.json, check", 2, "prepare the data set again", "data")
def description(root):
    for path in (root / "d").rglob("dataset_info.json"):
        path.write_text('{"name": ')
    yield read(root)


def arrays(name: str, says: str, content) -> None:
    """Registers check on CamVid's arrays; content: path -> None writes them."""

    @case(f"{name}, check", 2, says)
    def run(root):
        (root / "d/camvid").mkdir(parents=True)
        content(root / "d/camvid/a.npz")
        yield read(root, "camvid", "--config.data.reader=arrays")


def saved(**values):
    return lambda path: np.savez(path, **values)


IMAGES, LABELS = np.zeros((2, 24, 32, 3), np.uint8), np.zeros((2, 24, 32), np.uint8)
OBJECTS = np.array([{}, []], object)
noise = np.random.default_rng(0).bytes(999)
arrays(
    "12 random bytes as .npz", "expected arrays", lambda path: path.write_bytes(noise)
)
arrays(
    "12 .npz of objects",
    "Object arrays cannot be loaded",
    saved(train_images=OBJECTS, train_labels=OBJECTS),
)
arrays("12 .npz without labels", "train_labels", saved(train_images=IMAGES))
arrays(
    "12 .npz of fewer labels than images",
    "train",
    saved(train_images=IMAGES, train_labels=LABELS[:1]),
)
arrays(
    "12 .npz of floats",
    "float",
    saved(train_images=IMAGES / 255, train_labels=LABELS),
)
arrays(
    "12 .npz of other sides",
    "train",
    saved(train_images=IMAGES, train_labels=LABELS[:, :9]),
)


def cifar(name: str, says: str, images, labels) -> None:
    """Registers check on arrays of CIFAR-10."""

    @case(f"new CIFAR {name}, check", 2, says)
    def run(root):
        (root / "d/cifar10").mkdir(parents=True)
        for split in ("train", "test"):
            path = root / f"d/cifar10/{split}.npz"
            np.savez(path, images=images, labels=labels)
        yield read(root, "cifar10", "--config.data.reader=arrays")


SMALL, ZEROS = np.zeros((20, 32, 32, 3), np.uint8), np.zeros(20, np.uint8)
cifar("labels of an eleventh class", "up to 10", SMALL, ZEROS + 10)
cifar("of other sides", "32", SMALL[:, :16, :16], ZEROS)
cifar("channels first", "32", np.moveaxis(SMALL, 3, 1), ZEROS)
cifar("labels as floats", "labels", SMALL, ZEROS / 2)
cifar("fewer labels than images", "20", SMALL, ZEROS[:3])
cifar("negative labels", "int64[20]", SMALL, ZEROS.astype(np.int64) - 1)


@case("new CIFAR one of two files is missing, check", 2, "test.npz")
def half(root):
    (root / "d/cifar10").mkdir(parents=True)
    np.savez(root / "d/cifar10/train.npz", images=SMALL, labels=ZEROS)
    yield read(root, "cifar10", "--config.data.reader=arrays")
