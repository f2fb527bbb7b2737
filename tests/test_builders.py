"""Every builder under TFDS's own test case, on folders in the official layout."""

import pathlib
import tempfile

from made_datasets import (
    ade20k,
    cityscapes,
    coco_voc,
    pascal_context,
    pascal_voc,
    png,
    raw_mask,
    write,
)
from made_datasets import image as made_image

from encnet_jax.data.prepare.builders.ade20k import Ade20k
from encnet_jax.data.prepare.builders.camvid import CamVid
from encnet_jax.data.prepare.builders.cityscapes import Cityscapes
from encnet_jax.data.prepare.builders.coco_voc import CocoVoc
from encnet_jax.data.prepare.builders.pascal_context import PascalContext
from encnet_jax.data.prepare.builders.pascal_voc import PascalVoc
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets

tfds = tensorflow_datasets()


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
    DATASET_CLASS, MAKE = Ade20k, staticmethod(ade20k)
    SPLITS = {"train": 4, "val": 3, "test": 2}


class CamVidTest(_MadeFiles):
    DATASET_CLASS, MAKE = CamVid, staticmethod(camvid)
    SPLITS = {"train": 2, "val": 1}


class CityscapesTest(_MadeFiles):
    DATASET_CLASS, MAKE = Cityscapes, staticmethod(cityscapes)
    SPLITS = {"train": 2, "val": 1, "test": 1}


class CocoVocTest(_MadeFiles):
    DATASET_CLASS, MAKE = CocoVoc, staticmethod(coco_voc)
    SPLITS = {"train": 1, "val": 1}


class PascalContextTest(_MadeFiles):
    DATASET_CLASS, MAKE = PascalContext, staticmethod(pascal_context)
    SPLITS = {"train": 2, "val": 2}


class PascalVocTest(_MadeFiles):
    DATASET_CLASS, MAKE = PascalVoc, staticmethod(pascal_voc)
    SPLITS = {"train": 2, "val": 2, "aug": 4, "test": 2}


del _MadeFiles, tfds  # Or pytest would run the bare cases too.
