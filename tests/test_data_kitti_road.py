"""KITTI road, prepared from its published files."""

import shutil

import made_datasets
import numpy as np
import pytest
from made_archives import assert_labels, pack
from made_datasets import write

from encnet_jax.data import sets
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sources import prepared
from encnet_jax.errors import UserError

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_kitti_roads_are_read_from_their_archive(root, tmp_path):
    truth = made_datasets.kitti_road(root)
    pack(root, root / "data_road.zip", "data_road")
    prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    assert_labels("kitti_road", tmp_path, truth)


def test_kitti_calibrations_become_views_of_the_road(root, tmp_path):
    truth = made_datasets.kitti_road(root)
    prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    info = sets.named_info("kitti_road")
    views = prepared.views(info, str(tmp_path))
    assert views.keys() == truth["train"].keys() | truth["val"].keys()
    # A point 2 m to the right and 10 m ahead, 1.65 m below the camera.
    u, v, w = views["um_000001"] @ [2, 10, 1]
    np.testing.assert_allclose(w, 10.003)
    np.testing.assert_allclose([u, v], [700 * 2 + 600 * 10 + 45, 700 * 1.65 + 1700.2])
    file = next(tmp_path.glob("kitti_road/*/road_to_image.json"))
    file.write_text('{"um_000001": [1, 2]}')
    message = "road_to_image.json: cannot be read; expected a matrix of 3x3"
    with pytest.raises(UserError, match=message):
        prepared.views(info, str(tmp_path))
    file.unlink()
    assert prepared.views(info, str(tmp_path)) == {}


def lanes_only(folder):
    (folder / "gt_image_2/um_road_000001.png").unlink()


def grey_masks(folder):
    black = made_datasets.png(np.zeros((40, 56, 3), np.uint8))
    write(folder / "gt_image_2/uu_road_000001.png", black)


def train_ids(folder):
    ids = made_datasets.raw_mask(1, range(2))
    write(folder / "gt_image_2/uu_road_000001.png", made_datasets.png(ids))


def other_names(folder):
    write(folder / "image_2/000007.png", made_datasets.image(0, "PNG"))


def flat_calibration(folder):
    head, _, _ = made_datasets.KITTI_CALIBRATION.partition("Tr_cam")
    write(folder / "calib/umm_000000.txt", f"{head}Tr_cam_to_road:{' 0' * 12}\n")


def short_calibration(folder):
    write(folder / "calib/umm_000000.txt", "P2: 1 2 3\nR0_rect: 1 0 0 0 1 0 0 0 1\n")


def no_masks(folder):
    shutil.rmtree(folder / "gt_image_2")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lanes_only, "um_000001.png: has no mask; expected um_road_000001.png"),
        (grey_masks, "uu_road_000001.png: the mask has no red pixel"),
        (train_ids, "uu_road_000001.png: the mask is grey; expected a red mask"),
        (other_names, "000007.png: unexpected file name; expected um_NUMBER.png"),
        (flat_calibration, "umm_000000.txt: the matrix Tr_cam_to_road has no inverse"),
        (short_calibration, "umm_000000.txt: has no line 'P2:' with 12 numbers"),
        (no_masks, "expected the folders training/image_2 and training/gt_image_2"),
    ],
)
def test_mistakes_in_kitti_road_are_reported(root, tmp_path, damage, message):
    made_datasets.kitti_road(root)
    damage(root / "data_road/training")
    with pytest.raises(UserError, match=message) as error:
        prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
