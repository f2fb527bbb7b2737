"""Images of a data set as files."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import export_images as export_module
from encnet_jax.data import open_dataset
from encnet_jax.data.export_images import export_images
from encnet_jax.errors import UserError
from encnet_jax.pictures import colourise


def test_images_and_coloured_labels_are_written(tmp_path):
    data = config_lib.load("configs/quickstart.py:smoke").data
    assert export_images(data, split="val", count=2, output=str(tmp_path)) == 2
    dataset = open_dataset(data)
    example = next(dataset.eval_examples("val"))
    image, label = (sorted((tmp_path / d).iterdir()) for d in ("images", "labels"))
    assert len(image) == len(label) == 2
    assert [p.name for p in image] == [p.name for p in label]
    np.testing.assert_array_equal(np.asarray(Image.open(image[0])), example["image"])
    coloured = colourise(example["label"], dataset.info.colours)
    np.testing.assert_array_equal(np.asarray(Image.open(label[0])), coloured)


def test_data_without_label_maps_are_refused(tmp_path):
    data = config_lib.load("configs/cifar10.py:smoke").data
    with pytest.raises(UserError, match="discs has one label per image"):
        export_images(data, split="val", count=2, output=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_images_get_different_names(tmp_path, monkeypatch):
    def exported(*ids):
        dataset = open_dataset(data)
        examples = zip(ids, dataset.eval_examples("val"), strict=False)
        examples = [example | {"id": name} for name, example in examples]
        monkeypatch.setattr(type(dataset), "eval_examples", lambda *_: examples)
        with monkeypatch.context() as patch:
            patch.setattr(export_module, "open_dataset", lambda _: dataset)
            return export_images(data, split="val", count=9, output=str(tmp_path))

    data = config_lib.load("configs/quickstart.py:smoke").data
    assert exported("a.1", "a.2", "x/a.png", "y/a.png") == 4
    found = {path.name for path in (tmp_path / "images").iterdir()}
    assert found == {"a.1.png", "a.2.png", "x_a.png", "y_a.png"}
    with pytest.raises(UserError, match=r"scenes/val .* written to a.png: rename one"):
        exported("a.png", "a.jpg")
