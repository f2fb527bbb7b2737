"""Folders that were handed on: whole, or refused in one line before anything runs."""

import hashlib
import json
import os
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from flax import traverse_util

import encnet_jax
from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.errors import UserError
from encnet_jax.inference.model import Model
from encnet_jax.models.folding import fold_batch_norms, folded_names
from encnet_jax.pods import parallel
from encnet_jax.tasks import folder
from encnet_jax.train.assemble import init_variables
from encnet_jax.train.initialise import initialise


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder of random weights, as an export writes it."""
    config = config_lib.resolve(
        config_lib.load("configs/quickstart.py:smoke"), config_lib.Facts(400)
    )
    model = tasks.of(config).build_model(13)
    variables = jax.device_get(
        init_variables(model, config.seed, config.data.crop_size)
    )
    path = tmp_path_factory.mktemp("hub")
    folder.write(epath.Path(path), variables, config, 3)
    return path


@pytest.fixture
def copied(hub, tmp_path):
    return epath.Path(shutil.copytree(hub, tmp_path / "hub"))


def edit(path, **members):
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(content | members))


def set_field(path, field, value):
    content = json.loads((path / "config.json").read_text())
    *groups, last = field.split(".")
    node = content["configuration"]
    for group in groups:
        node = node[group]
    if value is None:
        del node[last]
    else:
        node[last] = value
    (path / "config.json").write_text(json.dumps(content))


def set_arrays(path, change):
    """Changes arrays and states the new checksum, as another tool would write them."""
    weights = path / "model.safetensors"
    arrays = safetensors.numpy.load_file(weights)
    change(arrays)
    data = safetensors.numpy.save(arrays)
    weights.write_bytes(data)
    edit(path, sha256={"model.safetensors": hashlib.sha256(data).hexdigest()})


def test_a_whole_folder_is_read(copied):
    network = folder.read(
        copied, lambda saved: saved.update_from_flattened_dict({"eval.bucket": 32})
    )
    assert network.step == 3 and network.config.eval.bucket == 32
    arrays = safetensors.numpy.load_file(copied / "model.safetensors")
    read = jax.tree.leaves(network.variables)
    assert len(read) == len(arrays)
    assert sum(x.size for x in read) == sum(x.size for x in arrays.values())


CONFIGS = {
    "a list": ("[]", "contains a list"),
    "nothing": ("", "not a complete JSON file"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "a number": ("1", "contains a int"),
    "foreign": ('{"library_name": "timm"}', "was not written by encnet_jax"),
    "bytes": ("\ud800", "not a complete JSON file"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_damaged_configuration_is_refused(name, copied):
    text, says = CONFIGS[name]
    (copied / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(copied, says)


def refused(path, says):
    with pytest.raises(UserError) as error:
        folder.read(path)
    assert says in str(error.value) and str(path) in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "members, says",
    [
        ({"step": None}, "step is None"),
        ({"step": -1}, "step is -1"),
        ({"step": True}, "step is True"),
        ({"configuration": []}, "configuration is list"),
        ({"configuration": {}}, "has no field"),
        ({"sha256": {}}, "sha256.model.safetensors is missing"),
        ({"sha256": None}, "sha256 is None"),
        ({"sha256": {"model.safetensors": "0" * 64}}, "has changed since"),
    ],
)
def test_members_of_other_types_are_refused(members, says, copied):
    edit(copied, **members)
    refused(copied, says)


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("architecture", "zzz", "architecture is 'zzz'"),
        ("model.backbone", "resnet101", "does not match the network"),
        ("model.backbone", 7, "model.backbone is 7"),
        ("model", [], "model is not an object"),
        ("model.name", {"a": 1}, "model.name is an object"),
        ("model.zzz", 1, "unknown field model.zzz"),
        ("model.head_channels", 24, "expected float32"),
        ("model.head_channels", "many", "model.head_channels is 'many'"),
        ("data.crop_size", 1e30, "data.crop_size is 1e+30"),
        ("data.name", "nosuch", "nosuch"),
        ("optim.base_lr", 10**400, "optim.base_lr is 1000"),
        ("model.name", "piecewise_crf", "has no auxiliary head"),
        ("data.name", "camvid", "expected float32"),
        ("data.folder.class_names", ["a"] * 65536, "at most 255 names"),
        ("eval.scales", [None], "eval.scales"),
        ("optim.base_lr", float("nan"), "optim.base_lr"),
        ("optim", {"ema_decay": None}, "optim.ema_decay is null"),
    ],
)
def test_fields_of_other_types_are_refused(field, value, says, copied):
    set_field(copied, field, value)
    refused(copied, says)


def test_a_name_with_a_dot_is_no_field(copied):
    content = json.loads((copied / "config.json").read_text())
    content["configuration"]["trai."] = {}
    (copied / "config.json").write_text(json.dumps(content))
    refused(copied, "trai. is not the name of a field")


def test_fields_that_are_missing_have_their_defaults(copied):
    set_field(copied, "eval.bucket", None)
    assert folder.read(copied).config.eval.bucket == 64


def removed(arrays):
    del arrays[sorted(arrays)[0]]


def added(arrays):
    arrays["params/extra"] = np.zeros(3, np.float32)


def doubled(arrays):
    arrays["params"] = np.zeros(3, np.float32)


def reshaped(arrays):
    name = sorted(arrays)[0]
    arrays[name] = np.concatenate([arrays[name]] * 2)


def bfloat16(arrays):
    name = sorted(arrays)[0]
    arrays[name] = arrays[name].astype(ml_dtypes.bfloat16)


def int64(arrays):
    name = sorted(arrays)[0]
    arrays[name] = arrays[name].astype(np.int64)


def nan(arrays):
    arrays[sorted(arrays)[0]].flat[0] = np.nan


def emptied(arrays):
    arrays.clear()


@pytest.mark.parametrize(
    "change, says",
    [
        (removed, "arrays: 1 missing, 0 unknown"),
        (added, "contains the unknown array 'params/extra'"),
        (doubled, "contains an array 'params' and also arrays inside a module"),
        (reshaped, "expected float32"),
        (bfloat16, "not a readable .safetensors file (KeyError: 'BF16')"),
        (int64, "expected float32"),
        (nan, "contains NaN or infinite values"),
        (emptied, "missing, 0 unknown"),
    ],
)
def test_arrays_that_do_not_match_the_network_are_refused(change, says, copied):
    set_arrays(copied, change)
    refused(copied, says)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "harm, says",
    [
        (flip, "has changed since"),
        (lambda path: path.write_bytes(b""), "has changed since"),
        (fifo, "FIFO"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_weight_file(harm, says, copied):
    harm(copied / "model.safetensors")
    refused(copied, says)


def test_a_fifo_in_place_of_the_configuration_is_refused(copied):
    fifo(copied / "config.json")
    refused(copied, "FIFO")


def test_names_after_folding_are_those_of_the_arrays(hub):
    arrays = safetensors.numpy.load_file(hub / "model.safetensors")
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    folded = traverse_util.flatten_dict(fold_batch_norms(variables, 1e-5), sep="/")
    assert folded_names(arrays) == folded.keys() < arrays.keys()


def test_a_folder_with_folded_arrays_is_read(copied):
    network = folder.read(copied)
    folded = fold_batch_norms(network.variables, 1e-5)
    folder.write(copied, folded, network.config, 3)
    found = folder.read(copied).variables
    assert len(jax.tree.leaves(found)) == len(jax.tree.leaves(folded))


def test_a_folder_is_loaded_and_trained_further(hub, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    network = folder.read(hub)
    model = encnet_jax.load(hub)
    direct = Model(network._replace(variables=parallel.replicate(network.variables)))
    np.testing.assert_array_equal(model(image).labels, direct(image).labels)
    with pytest.raises(UserError, match="no numbered checkpoints"):
        encnet_jax.load(hub, "best")
    config = network.config
    initial = jax.tree.map(np.zeros_like, network.variables)
    found, lines = initialise(
        initial, str(hub), "", task=config.task, model=config.model
    )
    jax.tree.map(np.testing.assert_array_equal, found, network.variables)
    count = len(jax.tree.leaves(found))
    assert lines == [f"loaded {count} of {count} arrays from {hub}"]
    # A configuration that continues from the folder has its backbone.
    given = config_lib.load("configs/quickstart.py:smoke")
    given.init_from = str(hub)
    assert (
        config_lib.resolve(given, config_lib.Facts(400)).model.stem_width
        == config.model.stem_width
    )
