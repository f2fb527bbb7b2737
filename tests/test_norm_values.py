"""Batch norms that would see one value per channel are refused before the first step.

The tests have 8 devices.
"""

import jax
import pytest

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.errors import UserError
from encnet_jax.models.norm import SyncBatchNorm
from encnet_jax.train.norm_values import check_norm_values


def check(config, num_examples):
    sections = {name: config[name] for name in ("train", "data", "model")}
    check_norm_values(tasks.of(config), 3, num_examples, **sections)


def resolved(arguments, **fields):
    config = config_lib.load(f"configs/quickstart.py:{arguments}")
    config.update_from_flattened_dict({"data.crop_size": 32, **fields})
    return config_lib.resolve(config, config_lib.Facts(400))


ONE_IMAGE = {"train.batch_size": 8, "model.norm_group": 1}


@pytest.mark.parametrize(
    "fields, norm",
    [
        ({"model.name": "pspnet"}, "head/pool1/norm"),
        ({"model.name": "deeplabv3"}, "head/image/norm"),
        ({"model.name": "deeplabv3", "train.accumulate": 2}, "head/image/norm"),
        # One position on the feature map; the auxiliary head is on the same stride.
        (
            {"model.name": "fcn", "data.crop_size": 16, "model.output_stride": 16},
            "backbone/stage3_block01/norm1",
        ),
        ({"model.name": "encnet", "data.crop_size": 16}, None),
        ({"model.name": "pspnet", "model.frozen_norm": True}, None),
        ({"model.name": "pspnet", "model.norm_group": 2}, None),
        ({"model.name": "pspnet", "model.norm_group": 0}, None),
        ({"model.name": "pspnet", "train.batch_size": 16}, None),
        ({"model.name": "encnet"}, None),
        ({"model.name": "fcn"}, None),
    ],
)
def test_configurations(fields, norm):
    fields = {**ONE_IMAGE, **fields}
    fields["train.batch_size"] *= fields.get("train.accumulate", 1)
    config = resolved("smoke", **fields)
    if norm is None:
        check(config, 400)
        return
    with pytest.raises(UserError) as error:
        check(config, 400)
    for word in (norm, "train.batch_size", "train.accumulate", "model.norm_group"):
        assert word in str(error.value)


def test_a_last_batch_that_is_kept_counts():
    fields = {"model.name": "pspnet", "train.batch_size": 16, "model.norm_group": 1}
    config = resolved("smoke", **fields)
    config = config_lib.replaced(config, {"data.keep_last_batch": True})
    check(config, 400)
    with pytest.raises(UserError, match="head/pool1/norm gets only one value"):
        check(config, 408)


@pytest.mark.parametrize(
    "shape, refused", [((1, 1, 1, 4), True), ((1, 2, 1, 4), False)]
)
def test_the_layer_refuses_mismatched_shapes(shape, refused):
    norm = SyncBatchNorm(train=True)
    x = jax.numpy.zeros(shape)

    def apply(x):
        variables = norm.init(jax.random.key(0), x)
        return norm.apply(variables, x, mutable=["batch_stats"])[0].shape

    if not refused:
        assert jax.eval_shape(lambda x: x, jax.ShapeDtypeStruct(apply(x), x.dtype))
        return
    with pytest.raises(UserError, match="gets only one value per channel"):
        apply(x)


def test_other_devices_count_as_images():
    norm = SyncBatchNorm("batch", train=True)
    x = jax.numpy.arange(8.0)[:, None, None, None, None]

    def apply(x):
        variables = norm.init(jax.random.key(0), x)
        return norm.apply(variables, x, mutable=["batch_stats"])[0]

    result = jax.pmap(apply, axis_name="batch")(x)
    assert abs(float(result.std()) - 1) < 1e-3
