"""The table of what fields may be: complete, and as the networks are built."""

import math
import subprocess
import sys

import pytest

from encnet_jax import cli, preprocess
from encnet_jax import config as config_lib
from encnet_jax.config import __main__ as config_command
from encnet_jax.config import architectures, defaults, names, ranges
from encnet_jax.errors import UserError
from encnet_jax.models import cifar
from encnet_jax.models.heads import piecewise_crf
from encnet_jax.scoring import protocols

DEFAULTS = config_lib.flatten(config_lib.resolve(defaults.get_config()))
NUMBERS = sorted(
    field
    for field, value in DEFAULTS.items()
    if isinstance(value, (int, float)) and not isinstance(value, bool)
)


def test_every_field_is_in_the_table():
    assert set(ranges.ALLOWED) == set(DEFAULTS)
    assert len(NUMBERS) > 40


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.5, True])
def test_no_number_takes_nonsense(value):
    for field in NUMBERS:
        with pytest.raises(UserError, match=f"^{field} is {value!r}, wanted "):
            ranges.check({**DEFAULTS, field: value})


@pytest.mark.parametrize("value", [3.5, object()])
def test_no_other_field_takes_a_number_or_an_object(value):
    for field in set(DEFAULTS) - set(NUMBERS):
        with pytest.raises(UserError, match=f"^{field} is "):
            ranges.check({**DEFAULTS, field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.augment.scale_min": 3.0}, "scale_min is 3.0, wanted at most data.aug"),
        ({"data.augment.scale_min": 0.0, "data.augment.scale_max": 0.0}, "scale_min"),
        ({"data.value_range": (5, 5)}, "data.value_range is"),
        ({"data.value_range": (0, math.inf)}, "data.value_range is"),
        ({"data.input_scale": 0.001}, "data.input_scale is 0.001, wanted 0.02 to 50"),
        ({"data.crop_size": 1}, "data.crop_size is 1, wanted 16 to 32768"),
        ({"model.dropout": 1.5}, "model.dropout is 1.5, wanted 0 or more, less than 1"),
        ({"optim.momentum": 5.0}, "optim.momentum is 5.0"),
        ({"model.head_channels": 0}, "model.head_channels is 0, wanted 1 to 16384"),
        ({"train.epochs": 1e9}, "train.epochs is 1000000000.0, wanted more than 0, at"),
        ({"data.folder.ignore_ids": (256,)}, "ignore_ids is \\(256,\\), wanted mask"),
        ({"data.data_dir": "a\nb"}, "data.data_dir is 'a"),
    ],
)
def test_values_out_of_range_and_contradictions(fields, message):
    with pytest.raises(UserError, match=message):
        ranges.check(DEFAULTS | fields)


def test_more_steps_than_can_be_counted():
    config = defaults.get_config()
    config.train.epochs = 9e6
    with pytest.raises(UserError, match="which makes 9000000000 steps; wanted at most"):
        config_lib.resolve(config, 16_000)


def test_names_are_those_that_are_built():
    assert names.ARCHITECTURES == tuple(architectures.ARCHITECTURES)
    assert names.CLASSIFIERS == tuple(cifar.CLASSIFIERS)
    assert names.PROTOCOLS == tuple(protocols.PROTOCOLS)
    assert names.PIXELS == tuple(preprocess.PIXELS)
    assert names.CRF_FEATURES == tuple(piecewise_crf.FEATURES)
    assert names.CRF_PAIRWISE == tuple(piecewise_crf.PAIRWISE)


def test_configurations_and_help_load_no_jax():
    code = (
        "import sys, train\n"
        "try: train.main(['train.py', '--help'])\n"
        "except SystemExit: pass\n"
        "import encnet_jax.config\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_differences_from_the_defaults_are_listed():
    config = config_lib.resolve(config_lib.load("configs/pascal_voc.py:resnet101"))
    assert config_lib.differences(config) == [
        "data.name = 'pascal_voc' (default: 'ade20k')",
        "data.train_split = 'train_aug' (default: 'train')",
        "model.backbone = 'resnet101' (default: 'resnet50')",
        "optim.base_lr = 0.001 (default: 0.01)",
        "train.epochs = 50.0 (default: 120.0)",
        "train.val_protocol = 'centre_crop' (default: 'single')",
    ]


def test_the_command_prints_every_field_and_marks_the_others(capsys):
    argv = ["config", "configs/pascal_voc.py:release", "--config.seed=7"]
    assert cli.run(config_command.main, argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DEFAULTS)
    assert "* seed = 7  (default: 0)" in lines
    assert "* model.lateral = True  (default: False)" in lines
    assert "  model.stem = 'deep'" in lines
    assert cli.run(config_command.main, ["config", "--config.seed=7"]) == 2


def test_a_changed_number_of_images_is_named_as_such():
    old = config_lib.resolve(config_lib.load("configs/camvid.py"), 367)
    new = config_lib.resolve(config_lib.load("configs/camvid.py"), 480)
    assert old.train.epochs == new.train.epochs
    assert config_lib.first_difference(old, new).endswith(
        "images were added or removed"
    )
