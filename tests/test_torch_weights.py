"""Conversion without PyTorch: families, strictness, round trips, starting a run."""

import jax
import numpy as np
import pytest
import reference_models
import safetensors.numpy

from encnet_jax import torch_weights
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import families, state_dicts

SIZES = {"stem_width": 8, "head_channels": 16, "aux_channels": 8, "num_codes": 4}
TINY = {**SIZES, "backbone": "tiny"}


def random_variables(m, num_classes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: rng.random(x.shape, np.float32),  # No variance is below zero.
        state_dicts.variable_shapes(m, num_classes),
    )


def export(m, num_classes, family):
    variables = random_variables(m, num_classes)
    family = torch_weights.find(family)
    return torch_weights.to_state_dict(variables, m, family)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.golden
@pytest.mark.parametrize("name", reference_models.names("state_dict"))
def test_released_names_round_trip_bit_for_bit(reference_dir, name):
    reference, _ = reference_models.load(reference_dir, name)
    seeded = reference_models.seeded(reference_dir)
    state_dict = seeded.seeded_state_dict(reference["state_dict"])
    m = reference_models.release_model(reference)
    variables = torch_weights.convert(state_dict, m, reference["num_classes"])
    family = torch_weights.recognise(state_dict)
    assert family.name == "authors"
    back = torch_weights.to_state_dict(variables, m, family)
    assert back.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert back[key].dtype == value.dtype and back[key].shape == value.shape
        assert back[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize("name", ["encnet", "fcn", "pspnet", "deeplabv3"])
def test_paper_networks_round_trip(name):
    m = reference_models.model_config("paper", **TINY, name=name)
    variables = random_variables(m, 3)
    family = torch_weights.find("authors")
    state_dict = torch_weights.to_state_dict(variables, m, family)
    assert_trees_equal(torch_weights.convert(state_dict, m, 3), variables)
    shapes = {entry: array.shape for entry, array in state_dict.items()}
    assert families.differences(shapes, family, m) == []


def test_smoothing_is_stored_with_its_sign():
    m = reference_models.model_config("release", **TINY)
    variables = random_variables(m, 3)
    state_dict = torch_weights.to_state_dict(
        variables, m, torch_weights.find("authors")
    )
    smoothing = variables["params"]["head"]["context"]["encoding"]["smoothing"]
    scale = state_dict["head.encmodule.encoding.3.scale"]
    np.testing.assert_array_equal(scale, -smoothing)


@pytest.mark.parametrize("key", ["state_dict", "ema"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_dict_that_contains_itself_is_refused(key, depth):
    outer = inner = {}
    for _ in range(depth - 1):
        inner[key] = inner = {}
    inner[key] = outer
    with pytest.raises(UserError, match=f"found a dict '{key}' that contains itself"):
        state_dicts.unwrap(outer)


def test_a_file_without_arrays_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"step": np.asarray(3)}, path)
    with pytest.raises(UserError, match=f"^{path}: found a dict without arrays"):
        state_dicts.read(path)


def test_messages_about_weights_are_short():
    with pytest.raises(UserError) as unknown:
        families.recognise({"x" * 9999: np.ones(2)})
    with pytest.raises(UserError, match=r"\(keys: k0, k1, k2, k3, k4\); expected"):
        state_dicts.unwrap({f"k{i}": i for i in range(9999)})
    assert len(str(unknown.value)) < 1000


def test_checkpoints_and_data_parallel_are_unwrapped():
    m = reference_models.model_config("release", **TINY)
    state_dict = export(m, 3, "authors")
    wrapped = {f"module.{name}": x for name, x in state_dict.items()}
    wrapped = {"epoch": 7, "state_dict": wrapped, "optimizer": {"lr": 0.1}}
    assert_trees_equal(
        torch_weights.convert(wrapped, m, 3), torch_weights.convert(state_dict, m, 3)
    )


def test_half_precision_and_missing_counters_are_accepted():
    m = reference_models.model_config("release", **TINY)
    full = export(m, 3, "authors")
    half = {n: x.astype(np.float16) for n, x in full.items() if "num_batches" not in n}
    variables = torch_weights.convert(half, m, 3)
    found = variables["params"]["head"]["classifier"]["conv"]["bias"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, full["head.conv6.1.bias"].astype(np.float16))


def test_all_mismatched_arrays_are_listed():
    m = reference_models.model_config("release", **TINY)
    state_dict = export(m, 3, "authors")
    del state_dict["head.conv6.1.bias"]
    del state_dict["pretrained.layer4.0.bn2.running_var"]
    state_dict["head.extra.weight"] = np.zeros((2, 3), np.float32)
    state_dict["auxlayer.conv5.4.bias"] = np.zeros(4, np.float32)
    state_dict["head.encmodule.fc.0.bias"] = np.zeros(16, np.int32)
    with pytest.raises(UserError) as caught:
        torch_weights.convert(state_dict, m, 3)
    _, listed = str(caught.value).split("do not match the configuration: ")
    assert listed.split("; ") == [
        "mismatched auxlayer.conv5.4.bias [4], expected [3]",
        "missing pretrained.layer4.0.bn2.running_var [128]",
        "missing head.conv6.1.bias [3]",
        "mismatched head.encmodule.fc.0.bias [16] of int32, expected [16]",
        "unexpected head.extra.weight [2, 3]",
    ]


def test_a_mismatch_names_the_fields_to_change():
    there = reference_models.model_config(
        "release", **SIZES, backbone="resnet18", stem="conv7", lateral=True
    )
    state_dict = export(there, 3, "authors")
    here = reference_models.model_config("paper", **TINY, name="fcn")
    with pytest.raises(UserError) as caught:
        torch_weights.convert(state_dict, here, 3)
    summary = str(caught.value)
    for words in (
        "model.backbone is 'tiny', but these weights are for 'resnet18'",
        "model.stem is 'deep', but these weights are for 'conv7'",
        "model.name is 'fcn', but these weights are for 'encnet'",
        "model.lateral is False, but these weights are for True",
        "model.gate is 'scale', but these weights are for 'residual'",
    ):
        assert words in summary


@pytest.mark.parametrize(
    "family, fields",
    [
        ("authors", {}),
        ("mmseg", {"output_stride": 32}),
        ("torchvision", {"stem": "conv7"}),
        ("deep_stem", {}),
        ("resnet_d", {"avg_down": True}),
        ("resnet_v1c", {}),
    ],
)
def test_families_are_recognised_by_their_names(family, fields):
    m = reference_models.model_config("release", **TINY, **fields)
    assert torch_weights.recognise(export(m, 3, family)).name == family


def test_unknown_weights_are_refused():
    with pytest.raises(
        UserError, match="array names .first: blocks.0.attn.qkv. are those"
    ):
        torch_weights.recognise({"blocks.0.attn.qkv": np.zeros(3)})
    with pytest.raises(UserError, match=r"without arrays \(keys: epoch, state\)"):
        state_dicts.unwrap({"epoch": 3, "state": "done"})
    with pytest.raises(UserError, match="unknown family of weights 'caffe'"):
        torch_weights.find("caffe")


def test_mmsegmentations_undilated_blocks_are_refused():
    m = reference_models.model_config("mmseg", **SIZES, backbone="resnet18")
    with pytest.raises(UserError, match="model.backbone is 'resnet18', whose blocks"):
        export(m, 3, "mmseg")


def test_a_module_without_a_name_is_an_error():
    m = reference_models.model_config("paper", **TINY, output_stride=32)
    with pytest.raises(UserError, match="module aux_head.* has no equivalent in"):
        export(m, 3, "mmseg")


@pytest.fixture
def weight_file(tmp_path):
    def write(state_dict):
        path = tmp_path / "weights.safetensors"
        safetensors.numpy.save_file(state_dict, path)
        return path

    return write


def test_a_run_starts_from_a_backbone(weight_file):
    m = reference_models.model_config("paper", **TINY, stem="conv7")
    state_dict = export(m, 3, "torchvision")
    classifier = {"fc.weight": np.zeros((1000, 128), np.float32)}
    path = weight_file(state_dict | classifier)
    fresh = random_variables(m, 3, seed=1)
    started, lines = torch_weights.initialise(fresh, path, m)
    assert lines == [
        f"{path}: weights of a torchvision ResNet",
        "backbone: loaded all 65 arrays",
        (
            "note: timm's resnetaa50, resnetblur50 and similar have the same parameter"
            " names but other layers; if the file is from one of them, scores will be"
            " wrong"
        ),
        "head: randomly initialised; not in the file",
        "aux_head: randomly initialised; not in the file",
    ]
    taken = random_variables(m, 3)
    for collection in ("params", "batch_stats"):
        own = started[collection]
        assert_trees_equal(own["backbone"], taken[collection]["backbone"])
        assert_trees_equal(own["head"], fresh[collection]["head"])
    assert jax.tree.structure(started) == jax.tree.structure(fresh)


def test_a_run_starts_from_a_network_for_other_classes(weight_file):
    m = reference_models.model_config("release", **TINY)
    path = weight_file(export(m, 3, "authors"))
    fresh = random_variables(m, 5, seed=1)
    message = "^head cannot be loaded from .*: mismatched .*--config.init_skip=head"
    with pytest.raises(UserError, match=message):
        torch_weights.initialise(fresh, path, m)
    heads = ("head", "aux_head")
    started, lines = torch_weights.initialise(fresh, path, m, may_differ=heads)
    assert [line.split(" [")[0] for line in lines[1:]] == [
        "backbone: loaded all 70 arrays",
        "head: loaded 18 of 22 arrays",
        "head: randomly initialised; mismatched head.conv6.1.bias",
        "head: randomly initialised; mismatched head.conv6.1.weight",
        "head: randomly initialised; mismatched head.encmodule.selayer.bias",
        "head: randomly initialised; mismatched head.encmodule.selayer.weight",
        "aux_head: loaded 5 of 7 arrays",
        "aux_head: randomly initialised; mismatched auxlayer.conv5.4.bias",
        "aux_head: randomly initialised; mismatched auxlayer.conv5.4.weight",
    ]
    head, other = started["params"]["head"], random_variables(m, 3)["params"]["head"]
    assert_trees_equal(head["conv"], other["conv"])
    assert_trees_equal(head["classifier"], fresh["params"]["head"]["classifier"])


def test_a_run_does_not_start_from_another_head_or_backbone(weight_file):
    there = reference_models.model_config("release", **TINY)
    path = weight_file(export(there, 3, "authors"))
    here = reference_models.model_config("paper", **TINY, name="pspnet")
    fresh = random_variables(here, 3, seed=1)
    message = "head cannot be loaded from .*: the file does not match: "
    with pytest.raises(UserError, match=message):
        torch_weights.initialise(fresh, path, here)
    started, lines = torch_weights.initialise(fresh, path, here, may_differ=["head"])
    assert lines[2].startswith("head: randomly initialised; the file does not match: ")
    assert_trees_equal(started["params"]["head"], fresh["params"]["head"])
    here = reference_models.model_config("paper", **SIZES, backbone="resnet18")
    with pytest.raises(UserError, match="model.backbone is 'resnet18'"):
        torch_weights.initialise(random_variables(here, 3), path, here)


def test_a_classifier_does_not_start_from_a_weight_file(weight_file):
    m = reference_models.model_config("release", **TINY)
    path = weight_file(export(m, 3, "deep_stem"))
    with pytest.raises(UserError, match="the network has no backbone; expected"):
        torch_weights.initialise({"params": {"stem": {}}}, path, m)
