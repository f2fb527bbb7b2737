"""SIFT Flow, prepared from its published files."""

import made_datasets
import numpy as np
import pytest
import scipy.io
from made_archives import assert_labels, pack
from made_datasets import write

from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.errors import UserError

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_sift_flow_is_read_from_its_archive(root, tmp_path):
    truth = made_datasets.sift_flow(root / "SiftFlowDataset")
    pack(root, root / "SiftFlowDataset.zip", "SiftFlowDataset")
    prepare("sift_flow", source=str(root), data_dir=str(tmp_path))
    assert_labels("sift_flow", tmp_path, truth)


SIFT_FLOW = "spatial_envelope_256x256_static_8outdoorcategories"


def no_list(root):
    (root / "TestSet1.txt").unlink()


def no_labels(root):
    (root / "SemanticLabels" / SIFT_FLOW / "coast_natu1.mat").unlink()


def unknown_test_image(root):
    write(root / "TestSet1.txt", f"{SIFT_FLOW}\\coast_natu9.jpg\n")


def empty_list(root):
    write(root / "TestSet1.txt", "\n")


def other_variable(root):
    scipy.io.savemat(root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat", {"T": 1})


def sift_flow_train_ids(root):
    file = root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat"
    labels = scipy.io.loadmat(file)["S"]
    scipy.io.savemat(file, {"S": labels - np.uint8(1)})  # 0 becomes 255.


def label_34(root):
    file = root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat"
    labels = scipy.io.loadmat(file)["S"]
    labels[0, 0] = 34
    scipy.io.savemat(file, {"S": labels})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_list, rf"expected Images/{SIFT_FLOW}/\*.jpg, .* and TestSet1.txt"),
        (
            no_labels,
            "coast_natu1.jpg: has no labels in SemanticLabels .*without labels: 1 of",
        ),
        (unknown_test_image, "TestSet1.txt: lists 'coast_natu9'; expected names of"),
        (empty_list, "TestSet1.txt: is empty; expected"),
        (other_variable, "coast_natu1.mat: cannot be read .*'S'.*download"),
        (sift_flow_train_ids, "coast_natu1.mat: the mask has the value 255, out of"),
        (label_34, "coast_natu1.mat: the mask has the value 34, out of range"),
    ],
)
def test_mistakes_in_sift_flow_are_reported(root, tmp_path, damage, message):
    made_datasets.sift_flow(root)
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare("sift_flow", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
