"""SUN RGB-D, prepared from its published files."""

import shutil
import tarfile

import made_datasets
import pytest
from made_archives import assert_labels
from made_datasets import write

from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.errors import UserError

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


SUNRGBD = ("SUNRGBD-train_images", "SUNRGBD-test_images", "sunrgbd_train_test_labels")


def test_sunrgbd_is_read_from_its_archives(root, tmp_path):
    """Both archives of images have an img-000001.jpg, and no folder."""
    truth = made_datasets.sunrgbd(root)
    for name, suffix in zip(SUNRGBD, (".tgz", ".tgz", ".tar.gz"), strict=True):
        with tarfile.open(root / (name + suffix), "w:gz") as archive:
            for file in (root / name).iterdir():
                archive.add(file, file.name)
        shutil.rmtree(root / name)
    prepare("sunrgbd", source=str(root), data_dir=str(tmp_path))
    assert_labels("sunrgbd", tmp_path, truth)


def without(index):
    return lambda root: shutil.rmtree(root / SUNRGBD[index])


def no_label(root):
    (root / SUNRGBD[2] / "img-005052.png").unlink()


def odd_name(root):
    write(root / SUNRGBD[0] / "0001.jpg", made_datasets.image(0))


def ids_from_0(root):
    mask = made_datasets.png(made_datasets.raw_mask(0, [254, 255]))
    write(root / SUNRGBD[2] / "img-000001.png", mask)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without(0), "expected the archive or folder SUNRGBD-train_images"),
        (without(1), "expected the archive or folder SUNRGBD-test_images"),
        (without(2), "expected the archive or folder sunrgbd_train_test_labels"),
        (no_label, "img-000002.jpg: has no mask in the source"),
        (odd_name, "0001.jpg: unexpected file name; expected img-NUMBER.jpg"),
        (ids_from_0, "img-000001.png: the mask has the values 254, 255, out of range"),
    ],
)
def test_mistakes_in_sunrgbd_are_reported(root, tmp_path, damage, message):
    made_datasets.sunrgbd(root)
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare("sunrgbd", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
