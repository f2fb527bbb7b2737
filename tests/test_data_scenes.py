"""The generated scenes: deterministic, and undecidable nearby."""

import subprocess
import sys

import numpy as np
import pytest

from encnet_jax.data import sets
from encnet_jax.data.sets import scenes
from encnet_jax.data.sources import info as info_lib

FIRST_PATCH_ID = 4


def test_an_image_depends_only_on_split_and_index():
    image, label = scenes.generate("train", 5)
    again, label_again = scenes.generate("train", 5)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(label, label_again)
    assert image.shape == (192, 192, 3) and image.dtype == label.dtype == np.uint8
    for other in (("train", 6), ("val", 5)):
        assert (scenes.generate(*other)[0] != image).mean() > 0.5


def test_labels_follow_the_kind_and_lie_far_from_its_cues():
    seen = set()
    y, x = np.mgrid[:192, :192]
    for index in range(30):
        label = scenes.generate("val", index)[1]
        cue = (label >= 1) & (label < FIRST_PATCH_ID)
        (kind,) = np.unique(label[cue]) - 1
        patches = np.unique(label[label >= FIRST_PATCH_ID])
        assert set((patches - FIRST_PATCH_ID) % 3) == {kind}
        seen |= set(np.unique(label).tolist())
        for cy, cx in np.argwhere(cue)[::9]:
            distance = np.hypot(y - cy, x - cx)[label >= FIRST_PATCH_ID]
            assert distance.min() > scenes.FAR_PX - 1.3 * scenes.CUE_RADIUS_PX
    assert seen == set(range(len(scenes.CLASSES)))


def test_patches_look_the_same_in_every_kind_of_scene():
    colours = {i: [] for i in range(FIRST_PATCH_ID, 13)}
    for index in range(150):
        image, label = scenes.generate("train", index)
        for i in np.unique(label[label >= FIRST_PATCH_ID]):
            colours[i].append(image[label == i].mean(0))
    means = np.array([np.mean(colours[i], axis=0) for i in colours]).reshape(3, 3, 3)
    # Textures differ by far more than one texture does between kinds.
    assert np.ptp(means, axis=1).max() < 6
    assert np.ptp(means, axis=0).min() > 10


def test_ambiguous_pixels_are_common():
    labels = np.stack([scenes.generate("val", i)[1] for i in range(20)])
    assert 0.15 < (labels >= FIRST_PATCH_ID).mean() < 0.6


SEGMENTED = [
    name
    for name in sorted(sets.declared())
    if sets.named_info(name).task == "segmentation"
]


@pytest.mark.parametrize("name", SEGMENTED)
def test_catalogue_entries_are_consistent(name):
    info = sets.named_info(name)
    assert info.colours.shape == (info.num_classes, 3)
    assert len(set(info.class_names)) == info.num_classes
    known = info.id_map[info.id_map < info_lib.UNKNOWN_ID]
    np.testing.assert_array_equal(np.unique(known), np.arange(info.num_classes))


def test_raw_ids_of_camvid_and_ade20k():
    camvid, ade20k = sets.named_info("camvid"), sets.named_info("ade20k")
    assert camvid.id_map[[0, 10, 11, 12]].tolist() == [0, 10, 255, 254]
    assert ade20k.id_map[[0, 1, 150, 151]].tolist() == [255, 0, 149, 254]
    assert ade20k.class_names[0] == "wall" and ade20k.class_names[149] == "flag"


def test_voc_palette():
    colours = info_lib.voc_colours(22)
    assert colours[[0, 1, 2, 15, 21]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [128, 64, 128],
    ]  # fmt: skip


def test_arrays_need_no_tensorflow():
    code = (
        "import sys, encnet_jax.data.pipelines.pillow, encnet_jax.data.sources.npz;"
        "import encnet_jax.data.check.__main__;"
        "sys.exit(any(m.startswith('tensorflow') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
