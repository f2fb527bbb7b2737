"""Parameter counts, without computing a parameter."""

import jax
import numpy as np
import pytest
import reference_models

from encnet_jax.torch_weights import state_dicts

# With the classifier for 1000 classes. Source: num_params of the weights' entries in
# docs.pytorch.org/vision/stable/models/resnet.html.
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}
ROWS = [
    (architecture, name)
    for architecture in ("paper", "release", "mmseg")
    for name in ("fcn", "encnet", "pspnet", "deeplabv3")
]


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def documented(request):
    """{(architecture, model): {backbone: count}} of docs/pretrained.md."""
    text = (request.config.rootpath / "docs" / "pretrained.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("## Parameters")[1].splitlines()
        if line.startswith("|")
    ]
    header, _, *body = rows
    return {
        (row[0], row[1]): {
            backbone: int(cell.replace(",", ""))
            for backbone, cell in zip(header[2:], row[2:], strict=True)
        }
        for row in body
    }


@pytest.mark.parametrize("architecture, name", ROWS)
def test_documented_counts(documented, architecture, name):
    counts = {}
    for backbone in TORCHVISION:
        m = reference_models.model_config(architecture, name=name, backbone=backbone)
        counts[backbone] = count(state_dicts.variable_shapes(m, 150)["params"])
    assert counts == documented[architecture, name]


@pytest.mark.parametrize("backbone", TORCHVISION)
def test_backbones_have_torchvisions_counts(backbone):
    m = reference_models.model_config("release", backbone=backbone, stem="conv7")
    params = state_dicts.variable_shapes(m, 150)["params"]["backbone"]
    features = 512 if backbone in ("resnet18", "resnet34") else 2048
    assert count(params) + features * 1000 + 1000 == TORCHVISION[backbone]


@pytest.mark.golden
@pytest.mark.parametrize("name", reference_models.names("state_dict"))
def test_counts_of_the_released_networks(reference_dir, name):
    reference, _ = reference_models.load(reference_dir, name)
    theirs = sum(
        int(np.prod(shape))
        for entry, shape in reference["state_dict"].items()
        if "running" not in entry and "num_batches" not in entry
    )
    m = reference_models.release_model(reference)
    shapes = state_dicts.variable_shapes(m, reference["num_classes"])
    assert count(shapes["params"]) == theirs
