"""Archives of small data sets, and what is read back after preparation."""

import pathlib
import shutil

import numpy as np

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


def configure(name, data_dir):
    data = config_lib.load(str(BASE)).data
    data.name, data.data_dir, data.crop_size = name, str(data_dir), 32
    return data


def read_back(name, data_dir, split):
    examples = open_dataset(configure(name, data_dir)).eval_examples(split)
    return {example["id"]: example["label"] for example in examples}


def assert_labels(name, data_dir, truth):
    for split, labels in truth.items():
        found = read_back(name, data_dir, split)
        assert list(found) == sorted(labels), split
        for key, label in labels.items():
            np.testing.assert_array_equal(found[key], label, f"{split} {key}")


def pack(root, archive, *folders):
    """Writes folders below root as an archive and removes them."""
    name, kind = str(archive).split(".", 1)
    kind = {"tgz": "gztar", "tar.gz": "gztar"}.get(kind, kind)
    made = pathlib.Path(name + ".made")
    for folder in folders:
        (made / folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / folder, made / folder)
    packed = pathlib.Path(shutil.make_archive(name, kind, made))
    packed.rename(archive)
    shutil.rmtree(made)
