"""The recipes of the paper and of the released code, held to their numbers."""

import pathlib

import pytest

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset
from encnet_jax.errors import UserError

PAPER = {
    "architecture": "paper",
    "train.batch_size": 16,
    "data.crop_size": 480,
    "data.augment.scale_min": 0.5,
    "data.augment.scale_max": 2.0,
    "data.augment.scale_relative_to": "image",
    "data.augment.rotate_degrees": 10.0,
    "data.augment.blur_probability": 0.0,
    "loss.se_weight": 0.2,
    "model.num_codes": 32,
    "model.name": "encnet",
    "model.backbone": "resnet50",
    "model.output_stride": 8,
    "model.code_pooling": "sum",
    "model.gate": "scale",
    "model.aux": "context",
    "model.lateral": False,
    "model.mask_padding": True,
    "optim.schedule": "poly",
    "optim.poly_power": 0.9,
    "optim.momentum": 0.9,
    "optim.weight_decay": 1e-4,
    "optim.head_lr_multiplier": 1.0,
    "eval.scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    "eval.flip": True,
    "eval.bucket": 64,
    "eval.absent_classes": "zero",
    "train.val_protocol": "centre_crop",
}
TUNED = PAPER | {
    "architecture": "tuned",
    "model.code_pooling": "mean",
    "model.gate": "residual",
}
RELEASE_2018 = PAPER | {
    "architecture": "release",
    "data.augment.scale_relative_to": "short_side",
    "data.augment.base_size": 520,
    "data.augment.rotate_degrees": 0.0,
    "data.augment.blur_probability": 0.5,
    "loss.aux_weight": 0.2,
    "model.code_pooling": "mean",
    "model.gate": "residual",
    "model.aux": "fcn",
    "model.mask_padding": False,
    "model.reference_positions": 0,
    "optim.head_lr_multiplier": 10.0,
    "eval.base_size": 520,
    "eval.crop_size": 480,
}
RELEASE_HEAD = RELEASE_2018 | {
    "data.augment.scale_relative_to": "long_side",
    "data.augment.blur_probability": 0.0,
}
LATERAL = {"model.lateral": True}


def schedule(base_lr, epochs, data, train_split="train", val_split="val", **fields):
    return {
        "optim.base_lr": base_lr,
        "train.epochs": float(epochs),
        "data.name": data,
        "data.train_split": train_split,
        "data.val_split": val_split,
        **fields,
    }


CIFAR = {
    "task": "classification",
    "train.batch_size": 128,
    "data.augment.pad": 4,
    "data.augment.flip": True,
    "data.crop_size": 32,
    "model.draw_smoothing": True,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 0,
    "optim.momentum": 0.9,
    "optim.weight_decay": 5e-4,
    "optim.decay_norm_and_bias": True,
}


def cifar_model(name, width, num_codes=0):
    return {
        "model.name": name,
        "model.width": width,
        "model.num_codes": num_codes,
    }


CITYSCAPES = {
    "architecture": "tuned",
    "data.crop_size": 800,
    "data.augment.scales": (0.5, 0.75, 1.0, 1.25, 1.5),
    "data.augment.crop_centres": tuple((512, 256 * i) for i in range(1, 8)),
    "data.augment.crop_jitter": 120,
    "data.augment.rotate_degrees": 0.0,
    "model.backbone": "resnet101",
    "model.output_stride": 8,
    "optim.schedule": "poly",
    "optim.weight_decay": 5e-4,
    "eval.flip": True,
}
DUC_HEAD = {
    "model.mask_padding": False,
    "model.name": "duc",
    "model.duc.cell": 2,
    "model.duc.rates": (6, 12, 18, 24),
    "model.align_corners": False,
    "model.aux": "none",
    "loss.labels": "thinned",
}
DUC_RELEASED = {
    "architecture": "duc_released",
    "model.dilation": "hdc_released",
    "model.stride_first": True,
    "model.padded_pool": False,
    "model.norm_epsilon": 1e-6,
    "model.frozen_norm": True,
    "model.pixels": "mean",
    "optim.schedule": "halving",
    "optim.halving_parts": 6,
    "optim.weight_decay": 5e-5,
    "optim.decay_norm_and_bias": True,
    "optim.decay_bias": False,
    "optim.clip_element": 5.0,
    "train.batch_size": 1,
    "eval.flip": False,
    "eval.upsampled": "probabilities",
}

VOC, CONTEXT = "pascal_voc", "pascal_context"
CIFAR_TABLE = CIFAR | schedule(0.1, 600, "cifar10", val_split="")
RECIPES = {
    "ade20k": TUNED | schedule(0.01, 120, "ade20k"),
    "ade20k:paper": PAPER
    | schedule(0.01, 120, "ade20k")
    | {"model.reference_positions": 60 * 60},
    "ade20k:with_val": TUNED | schedule(0.01, 20, "ade20k", "trainval", ""),
    "ade20k:release": RELEASE_2018 | schedule(0.01, 120, "ade20k"),
    "ade20k:release,resnet101": RELEASE_2018
    | schedule(0.01, 120, "ade20k")
    | {"model.backbone": "resnet101"}
    | dict.fromkeys(("data.crop_size", "eval.crop_size"), 576)
    | dict.fromkeys(("data.augment.base_size", "eval.base_size"), 640),
    "ade20k:release_head": RELEASE_HEAD | schedule(0.004, 180, "ade20k"),
    "pascal_context": TUNED | schedule(0.001, 50, CONTEXT),
    "pascal_context:background": TUNED | schedule(0.001, 50, "pascal_context60"),
    "pascal_context:release": RELEASE_2018 | schedule(0.001, 80, CONTEXT) | LATERAL,
    "pascal_context:release_head": RELEASE_HEAD
    | schedule(0.001, 80, CONTEXT)
    | LATERAL,
    "pascal_voc": TUNED | schedule(0.001, 50, VOC, "train_aug"),
    "pascal_voc:with_val": TUNED | schedule(0.001, 50, VOC, "train_aug_val", ""),
    "pascal_voc:finetune": TUNED | schedule(0.001, 50, VOC, "train", ""),
    "pascal_voc:release": RELEASE_2018
    | schedule(0.001, 50, VOC, "train_aug")
    | LATERAL,
    "pascal_voc:release,finetune": RELEASE_2018
    | schedule(0.0001, 50, VOC, "trainval", "")
    | LATERAL,
    "pascal_voc:finetune,release_head": RELEASE_HEAD
    | schedule(0.0001, 50, VOC, "trainval", "")
    | LATERAL,
    "pascal_voc:release_head": RELEASE_HEAD
    | schedule(0.001, 80, VOC, "train_aug")
    | LATERAL,
    "coco_voc": TUNED | schedule(0.01, 30, "coco_voc"),
    "coco_voc:release": RELEASE_2018 | schedule(0.01, 30, "coco_voc") | LATERAL,
    "coco_voc:release_head": RELEASE_HEAD | schedule(0.004, 30, "coco_voc") | LATERAL,
    "nyuv2": TUNED
    | schedule(0.01, 120, "nyuv2", "train", "test")
    | {"eval.base_size": 640, "train.val_protocol": "single"},
    "nyuv2:classes13,tiny,half": TUNED
    | schedule(0.02, 18, "nyuv2_13", "train", "test")
    | {"model.backbone": "tiny", "data.crop_size": 192, "eval.base_size": 320}
    | {"train.val_protocol": "single"},
    "cityscapes": CITYSCAPES | schedule(2.5e-4, 140, "cityscapes"),
    "cityscapes:duc,hdc_bigger": CITYSCAPES
    | schedule(2.5e-4, 140, "cityscapes")
    | DUC_HEAD
    | {"model.dilation": "hdc_bigger"},
    "cityscapes:duc,twelve_crops": CITYSCAPES
    | schedule(2.5e-4, 240, "cityscapes")
    | DUC_HEAD,
    "cityscapes:duc,coarse": CITYSCAPES
    | schedule(2.5e-4, 20, "cityscapes", "train_extra")
    | DUC_HEAD,
    "kitti_road:duc": DUC_HEAD
    | schedule(2.5e-4, 200, "kitti_road")
    | {"data.crop_size": 320, "model.backbone": "resnet101"},
    "kitti_road:all": schedule(2.5e-4, 200, "kitti_road", "trainval", ""),
    "sift_flow": TUNED
    | schedule(0.01, 60, "sift_flow", "train", "test")
    | {"eval.base_size": 512, "data.input_scale": 2.0}
    | {"train.val_protocol": "single"},
    "sunrgbd": TUNED
    | schedule(0.01, 60, "sunrgbd", "train", "test")
    | {"eval.base_size": 640, "train.val_protocol": "single"},
    "nyuv2:piecewise_crf,refine": schedule(0.01, 120, "nyuv2", "train", "test")
    | {"model.crf.refine": 16, "train.freeze": "", "train.val_protocol": "single"},
    "pascal_voc:piecewise_crf,refine_only": schedule(0.001, 50, VOC, "train_aug")
    | {
        "model.crf.refine": 16,
        "train.freeze": "coarse",
        "optim.frozen": ("backbone", "head"),
        "loss.unary_weight": 0.0,
        "loss.refined_weight": 1.0,
    },
    "cityscapes:released": CITYSCAPES
    | schedule(1e-4, 210, "cityscapes")
    | DUC_HEAD
    | DUC_RELEASED,
    "pascal_voc:paper,duc,resnet152": PAPER
    | schedule(0.001, 50, VOC, "train_aug")
    | DUC_HEAD
    | {"model.backbone": "resnet152"},
    "cifar10:resnet64d": CIFAR_TABLE | cifar_model("resnet", 64),
    "cifar10:se_resnet64d": CIFAR_TABLE | cifar_model("se_resnet", 64),
    "cifar10:encnet16k64d": CIFAR_TABLE | cifar_model("encnet", 64, 16),
    "cifar10:encnet32k128d": CIFAR_TABLE | cifar_model("encnet", 128, 32),
    "cifar10:encnet32k128d,authors": CIFAR_TABLE
    | cifar_model("encnet", 128, 32)
    | {
        "model.block": "authors",
        "data.channel_std": (0.2023, 0.1994, 0.2010),
        "data.keep_last_batch": True,
        "optim.cosine_ahead": 1 / 600,
    },
    "cifar10:encnet32k64d,curves": CIFAR
    | schedule(0.1, 600, "cifar10", "train_without_val")
    | cifar_model("encnet", 64, 32),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_has_its_numbers(recipe):
    name, _, arguments = recipe.partition(":")
    config = config_lib.resolve(config_lib.load(f"configs/{name}.py:{arguments}"))
    found = {field: config_lib.get(config, field) for field in RECIPES[recipe]}
    assert found == RECIPES[recipe]


SEGMENTATION = sorted(
    path.stem
    for path in pathlib.Path("configs").glob("*.py")
    if path.stem not in ("cifar10", "imagenet")
)


@pytest.mark.parametrize("name", SEGMENTATION)
def test_smoke_has_images_whatever_the_splits_of_the_recipe(name):
    config = config_lib.load(f"configs/{name}.py:smoke")
    dataset = open_dataset(config.data)
    assert dataset.num_examples(config.data.train_split) == 400
    assert dataset.num_examples(config.data.val_split) == 100


@pytest.mark.parametrize("name", SEGMENTATION)
def test_strong_makes_the_same_changes_to_every_segmentation_recipe(name):
    plain = config_lib.load(f"configs/{name}.py")
    strong = config_lib.load(f"configs/{name}.py:strong")
    fields = (
        "train.epochs",
        "train.batch_size",
        "optim.base_lr",
    )
    for field in fields:
        ratio = config_lib.get(strong, field) / config_lib.get(plain, field)
        assert ratio == 2, field
    resolved = config_lib.resolve(strong)
    assert (resolved.optim.ema_decay, resolved.optim.warmup_steps) == (0.999, 100)
    assert not resolved.optim.decay_norm_and_bias
    assert resolved.data.augment.hue == 0.05
    different = {
        key
        for key, value in config_lib.flatten(strong).items()
        if value != config_lib.flatten(plain)[key]
    }
    assert len(different) == 10


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_strong_is_for_segmentation(name):
    with pytest.raises(UserError, match="'strong' is only for segmentation"):
        config_lib.load(f"configs/{name}.py:strong")


@pytest.mark.parametrize("data", ["ade20k", "pascal_context", "pascal_voc", "coco_voc"])
def test_backbones_and_baselines_by_name(data):
    config = config_lib.load(f"configs/{data}.py:resnet101,fcn,release_2018")
    assert (config.model.backbone, config.model.name) == ("resnet101", "fcn")
    assert config.architecture == "release"


def test_splits_are_those_of_the_catalogue():
    from encnet_jax.data.sets import named_info

    for fields in RECIPES.values():
        info = named_info(fields["data.name"])
        known = {*info.splits, *info.unions, ""}
        assert {fields["data.train_split"], fields["data.val_split"]} <= known
