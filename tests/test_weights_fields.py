"""The model follows the weights that a configuration names."""

import json
import re

import pytest

from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import published
from encnet_jax.weights import PUBLISHED

STEMS = ("stem", "stem_width", "avg_down")


def resolved(spec="", **fields):
    config = config_lib.load(spec) if spec else defaults.get_config()
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config)


def stem(config):
    return tuple(config.model[name] for name in STEMS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision:resnet50", ("conv7", 64, False)),
        ("mmseg:resnet50_v1c", ("deep", 32, False)),
        ("timm:resnet50d", ("deep", 32, True)),
        ("authors:resnet50s", ("deep", 64, False)),
        ("", ("deep", 64, False)),
    ],
)
def test_weights_set_the_fields_that_they_imply(name, expected):
    config = resolved(init_from=name)
    assert stem(config) == expected
    again = config_lib.resolve(config)
    assert config_lib.to_json(again) == config_lib.to_json(config)


@pytest.mark.parametrize(
    "spec",
    [
        "ade20k",
        "pascal_context",
        "pascal_voc",
        "coco_voc",
        "cityscapes:encnet",
        "nyuv2",
    ],
)
def test_main_configurations_start_from_imagenet(spec):
    file, _, words = spec.partition(":")
    config = resolved(f"configs/{file}.py:{words}")
    depth = config.model.backbone.removeprefix("resnet")
    assert config.init_from == f"mmseg:resnet{depth}_v1c"
    assert stem(config) == ("deep", 32, False)
    without = resolved(f"configs/{file}.py:{words}", init_from="")
    assert stem(without) == ("deep", 64, False)


@pytest.mark.parametrize(
    "spec",
    [
        "configs/ade20k.py:smoke",
        "configs/pascal_voc.py:tiny",
        "configs/nyuv2.py:tiny",
        "configs/camvid.py",
        "configs/quickstart.py",
        "configs/cityscapes.py:released",
    ],
)
def test_other_configurations_start_from_random_weights(spec):
    assert resolved(spec).init_from == ""


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "mmseg:resnet50_v1c"),
        ({"model.backbone": "resnet152"}, "torchvision:resnet152"),
        ({"model.stem": "conv7"}, "torchvision:resnet50"),
        ({"model.avg_down": True}, "timm:resnet50d"),
    ],
)
def test_imagenet_selects_weights_that_match_the_given_fields(fields, name):
    assert resolved(init_from="imagenet", **fields).init_from == name


def test_missing_imagenet_weights_are_reported_in_one_line():
    with pytest.raises(UserError, match="no published ImageNet weights fit .*'tiny'"):
        resolved(init_from="imagenet", **{"model.backbone": "tiny"})


def test_fields_that_contradict_weights_give_one_line_with_the_flags_to_add():
    with pytest.raises(UserError) as caught:
        resolved(init_from="torchvision:resnet101", **{"model.stem": "deep", "seed": 3})
    assert str(caught.value).startswith(
        "model.stem is 'deep', model.backbone is 'resnet50', which does"
        " not match the weights init_from=torchvision:resnet101: add"
        " --config.model.stem=conv7 --config.model.backbone=resnet101"
    )


def test_with_skipped_heads_weights_set_only_fields_of_the_backbone():
    name = "torchvision:deeplabv3_resnet50"
    with pytest.raises(UserError, match="architecture is 'tuned'"):
        resolved(init_from=name)
    config = resolved(init_from=name, init_skip="head,aux_head")
    assert config.model.name == "encnet"
    assert config.model.align_corners is True
    assert stem(config) == ("conv7", 64, False)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="expected one of: torchvision:vgg16, "):
        resolved(init_from="torchvision:resnet51")


def test_backbone_fields_follow_the_run_that_is_continued(tmp_path):
    saved = resolved(init_from="torchvision:resnet50")
    (tmp_path / "config.json").write_text(config_lib.to_json(saved))
    config = resolved(init_from=str(tmp_path))
    assert stem(config) == ("conv7", 64, False)
    config = resolved(init_from=str(tmp_path), **{"model.stem_width": 32})
    assert stem(config) == ("conv7", 32, False)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"configuration": []}', "the configuration is list; expected an object"),
        ('{"configuration": null}', "the configuration is None; expected an object"),
        ('{"model": null}', "the configuration.model is None; expected an object"),
        ('{"model": {"stem": "zz"}}', "model.stem is 'zz'; expected one of: "),
        ('{"model": {"stem_width": {}}}', "model.stem_width is {}; expected "),
        ('{"model": {"avg_down": "x"}}', "model.avg_down is 'x'; expected "),
    ],
)
def test_a_folder_with_a_foreign_configuration_is_refused(tmp_path, content, says):
    (tmp_path / "config.json").write_text(content)
    found = re.escape(f"{tmp_path / 'config.json'}: {says}")
    with pytest.raises(UserError, match=found):
        resolved(init_from=str(tmp_path))


@pytest.mark.parametrize("name", PUBLISHED.names())
def test_every_name_resolves(name):
    entry = PUBLISHED.get(name)
    if entry.dataset:
        config = config_lib.resolve(published.network_config(entry))
        assert config.data.name == entry.dataset
        values = config_lib.flatten(config)
    else:
        values = config_lib.flatten(
            resolved(
                init_from=name, **{"model.backbone": entry.fields["model.backbone"]}
            )
        )
        with pytest.raises(UserError, match="is a backbone without a classifier"):
            published.network_config(entry)
    for field, value in entry.fields.items():
        assert values[field] == value
    json.dumps(values)
