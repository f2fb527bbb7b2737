"""Every builder under TFDS's own test case, on folders in the official layout."""

import pathlib
import tempfile

import pytest
from made_datasets import (
    ade20k,
    cityscapes,
    coco_voc,
    kitti_road,
    nyuv2,
    pascal_context,
    pascal_voc,
    png,
    raw_mask,
    sift_flow,
    sunrgbd,
    write,
)
from made_datasets import image as made_image

from encnet_jax.data.prepare.writer import builder_class
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
tfds = tensorflow_datasets()


def builder(name):
    return builder_class(named_info(name))


class _MadeFiles(tfds.testing.DatasetBuilderTestCase):
    """Makes the files; TFDS's test case does the rest."""

    MAKE = None

    @classmethod
    def setUpClass(cls):
        cls._files = tempfile.TemporaryDirectory()
        cls.EXAMPLE_DIR = cls._files.name
        cls.MAKE(pathlib.Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls._files.cleanup()


def camvid(root):
    for split, count in (("train", 2), ("val", 1)):
        for i in range(len(split), len(split) + count):
            write(root / split / f"p{i}.png", made_image(i, "PNG"))
            write(root / f"{split}annot" / f"p{i}.png", png(raw_mask(i, range(12))))


class Ade20kTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("ade20k"), staticmethod(ade20k)
    SPLITS = {"train": 4, "val": 3, "test": 2}


class CamVidTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("camvid"), staticmethod(camvid)
    SPLITS = {"train": 2, "val": 1}


class CityscapesTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("cityscapes"), staticmethod(cityscapes)
    SPLITS = {"train": 2, "val": 1, "test": 1, "train_extra": 1}


class CocoVocTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("coco_voc"), staticmethod(coco_voc)
    SPLITS = {"train": 1, "val": 1}


class NyuV2Test(_MadeFiles):
    DATASET_CLASS, MAKE = builder("nyuv2"), staticmethod(nyuv2)
    SPLITS = {"train": 3, "test": 2}


class KittiRoadTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("kitti_road"), staticmethod(kitti_road)
    SPLITS = {"train": 3, "val": 3, "test": 1}


class SiftFlowTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("sift_flow"), staticmethod(sift_flow)
    SPLITS = {"train": 3, "test": 1}


class SunRgbdTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("sunrgbd"), staticmethod(sunrgbd)
    SPLITS = {"train": 2, "test": 1}


class PascalContextTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("pascal_context"), staticmethod(pascal_context)
    SPLITS = {"train": 2, "val": 2}


class PascalVocTest(_MadeFiles):
    DATASET_CLASS, MAKE = builder("pascal_voc"), staticmethod(pascal_voc)
    SPLITS = {"train": 2, "val": 2, "aug": 4, "test": 2}


del _MadeFiles, tfds  # Or pytest would run the bare cases too.
