"""Pre-trains backbones as classifiers: deep-stem ResNets at output stride 32.

python train.py --config configs/imagenet.py:resnet50            ImageNet from TFDS
python train.py --config configs/imagenet.py:resnet50,modern     longer, better scores
python train.py --config configs/imagenet.py:resnet50,resnet_d   ResNet-D
python train.py --config configs/imagenet.py:resnet50,conv7      torchvision's stem
python train.py --config configs/imagenet.py:resnet18,folder \\
    --config.data.folder.images='my_data/{split}'                folders of classes
python train.py --config configs/imagenet.py:tiny,mini           Mini-ImageNet, CPUs

Then add --config.init_from=runs/imagenet-resnet50 to any segmentation configuration.

Published, % top-1 on the centre crop: torchvision's ResNet-50 (7x7 stem) 76.13, Flax's
example 76.4. Not yet reproduced here. The settings are those of Flax's example: 90
epochs, learning rate 0.1 for a batch size of 256 (proportional for other sizes), 5
epochs of warm-up. See docs/pretrained.md for details.
"""

from encnet_jax.config import defaults, recipes

_EPOCH_STEPS = 1_281_167 // 256


def modern(config):
    """Settings known to help: label smoothing, averaged weights, more augmentation.

    Trains for 200 epochs and does not decay norms and biases.
    """
    config.train.epochs = 200.0
    config.loss.label_smoothing = 0.1
    config.optim.ema_decay = 0.9999
    config.optim.decay_norm_and_bias = False
    augment = config.data.augment
    augment.brightness = augment.contrast = augment.saturation = 0.4


def pod(config):
    """Batch size 2048 in bfloat16, for TPU slices such as v5e:4x4.

    The learning rate is proportional to the batch size.
    """
    config.model.dtype = "bfloat16"
    config.train.batch_size = 2048
    config.optim.warmup_steps = 5 * _EPOCH_STEPS // 8
    config.eval.batch_size = 2048


def resnet_d(config):
    """ResNet-D: average pooling in the shortcuts, and a stem of half the width."""
    config.model.avg_down = True
    config.model.stem_width = 32


def conv7(config):
    """Stem with one 7x7 convolution instead of three 3x3, as in torchvision."""
    config.model.stem = "conv7"


def folder(config):
    """Reads images from one folder per class; no preparation is needed."""
    config.data.name = "image_folder"
    config.data.val_split = "val"
    config.optim.warmup_steps = 0


def small(config):
    """Images of 32x32 pixels, as in CIFAR-10; they are scored without cropping."""
    config.data.crop_size = 32
    config.data.augment.base_size = 32
    config.data.augment.area_min = 0.4


def mini(config):
    """Mini-ImageNet (64x64 images in 100 folders of classes), 3,000 steps on a CPU.

    Images are scored without cropping. Training crops keep at least 40 % of the area,
    because smaller parts of these images show little. A short schedule does not need
    stronger augmentation against overfitting.
    """
    folder(config)
    config.data.folder.images = "mini_imagenet/{split}"
    config.data.crop_size = 64
    config.data.augment.base_size = 64
    config.data.augment.area_min = 0.4
    config.optim.warmup_steps = 100
    config.train.batch_size = 128
    config.train.total_steps = 3000
    config.train.eval_every_epochs = 2.0
    config.train.checkpoint_every_steps = 500


def smoke(config):
    """Four steps of a tiny network on generated images."""
    recipes.smoke(config)
    config.data.name = "discs"
    config.data.crop_size = 32
    config.optim.warmup_steps = 0


def get_config(arguments=""):
    """Returns the configuration: deep-stem ResNet-50, batch size 256, 90 epochs."""
    config = defaults.get_config()
    config.task = "classification"
    config.data.name = "imagenet2012"
    config.data.val_split = "validation"
    config.data.crop_size = 224
    config.data.augment.base_size = 256
    config.model.name = "backbone"
    config.model.output_stride = 32
    config.optim.base_lr = 0.1
    config.optim.scale_lr_by_batch = True
    config.optim.lr_batch_size = 256
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 5 * _EPOCH_STEPS
    config.train.batch_size = 256
    config.train.epochs = 90.0
    config.train.checkpoint_every_steps = 5000
    config.train.num_pictures = 0
    config.eval.batch_size = 256
    words = {
        "modern": modern,
        "pod": pod,
        "resnet_d": resnet_d,
        "conv7": conv7,
        "folder": folder,
        "small": small,
        "mini": mini,
        "smoke": smoke,
    }
    return recipes.apply(config, arguments, words)
