"""Every field of a configuration: its meaning, its unit, its allowed values.

The other files in this folder change a few of these fields each. `python train.py
--config configs/NAME.py --config.optim.base_lr=0.02` overrides one from the shell.
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """Returns the default configuration: EncNet-50 as in the paper's text."""
    config = ml_collections.ConfigDict()
    config.task = "segmentation"  # 'segmentation' or 'classification'.
    config.architecture = "paper"  # Fills fields left None: 'paper', 'release', 'mmseg'.
    config.seed = 0  # Decides initial weights, data order, augmentation and dropout.
    config.init_from = ""  # A workdir or weight file whose parameters training starts from.

    data = config.data = ml_collections.ConfigDict()
    data.name = "ade20k"  # A data set of encnet_jax.data.catalog, or 'folder'.
    data.data_dir = "data"  # Where prepared data sets lie; local or gs://.
    data.reader = "tfds"  # 'tfds' (tf.data), or 'arrays' (.npz files, no TensorFlow).
    data.train_split = "train"
    data.val_split = "val"
    data.crop_size = 480  # Pixels; training crops are squares of this side.
    data.input_scale = 1.0  # Images are resized by this first; scores stay at native size.
    augment = data.augment = ml_collections.ConfigDict()
    augment.flip = True  # Mirror left and right with probability 1/2.
    augment.scale_min = 0.5  # The scale is drawn uniformly from [scale_min, scale_max].
    augment.scale_max = 2.0
    augment.scale_relative_to = "image"  # 'image', 'short_side' or 'long_side' (of base_size).
    augment.base_size = 520  # Pixels; used unless scale_relative_to is 'image'.
    augment.rotate_degrees = 10.0  # The angle is drawn uniformly from [-this, this].
    augment.blur_probability = 0.0  # Gaussian blur with a radius drawn from [0, 1) pixels.
    augment.antialias = False  # Resize as Pillow does (True), or in one projective resampling.
    folder = data.folder = ml_collections.ConfigDict()  # Only for name='folder'.
    folder.images = ""  # '{split}' is replaced: 'my_data/{split}/images'.
    folder.masks = ""  # Index PNGs of the same stems: 'my_data/{split}/masks'.
    folder.class_names = ()  # One name for each class, in the order of the ids.
    folder.ignore_ids = (255,)  # Mask values that are neither trained nor scored.
    folder.first_id = 0  # The mask value of the first class.

    model = config.model = ml_collections.ConfigDict()
    model.name = "encnet"  # 'encnet', 'fcn', 'pspnet', 'deeplabv3'.
    model.backbone = "resnet50"  # 'resnet18', '34', '50', '101', '152', or 'tiny'.
    model.stem = "deep"  # 'deep': three 3x3 convolutions; 'conv7': one 7x7.
    model.stem_width = 64  # Channels of the stem; the deep one ends with twice as many.
    model.avg_down = False  # Average pooling before the 1x1 shortcuts (ResNet-D).
    model.output_stride = 8  # 8, 16 or 32.
    model.num_codes = 32  # K of the paper; 0 means global average pooling (Figure 5).
    model.se_loss = True  # Class-presence branch.
    model.dropout = 0.1  # Probability of dropping an input of the last convolution.
    model.align_corners = True  # Corner convention of the upsampling.
    model.remat = False  # Recompute residual blocks in the backward pass to save memory.
    model.dtype = "float32"  # Compute type: 'float32' or 'bfloat16'; parameters stay float32.
    model.head_channels = 512  # Channels inside the head.
    model.aux_channels = 256  # Channels inside the auxiliary head.
    # The rest is filled in from `architecture` where it is None.
    model.code_pooling = placeholder(str)  # Of ReLU(BN(e_k)) over codewords: 'sum', 'mean'.
    model.gate = placeholder(str)  # 'scale': x * s; 'residual': relu(x + x * s).
    model.aux = placeholder(str)  # On stage 3: 'context', 'fcn' or 'none'.
    model.lateral = placeholder(bool)  # Fuse stages 2 and 3 into EncNet's head.
    model.head_convs = placeholder(int)  # 3x3 convolutions of an FCN head.
    model.head_concat_input = placeholder(bool)  # Join an FCN head's input to its output.

    loss = config.loss = ml_collections.ConfigDict()
    loss.se_weight = 0.2  # alpha of the paper: weight of each SE-loss.
    loss.aux_weight = 0.2  # Weight of an auxiliary pixel cross-entropy.
    loss.row_blocks = 8  # Full-resolution logits exist for 1/row_blocks of the rows at a time.

    optim = config.optim = ml_collections.ConfigDict()
    optim.base_lr = 0.01
    optim.scale_lr_by_batch = False  # Multiply base_lr by batch_size / 16.
    optim.schedule = "poly"  # 'poly' or 'cosine'; both end at 0.
    optim.poly_power = 0.9
    optim.warmup_steps = 0  # Linear from 0.
    optim.momentum = 0.9
    optim.weight_decay = 1e-4
    optim.decay_norm_and_bias = True  # As in the reference; False exempts them.
    optim.head_lr_multiplier = placeholder(float)  # Outside the backbone; by architecture.
    optim.ema_decay = 0.0  # 0: no moving average of the weights.

    train = config.train = ml_collections.ConfigDict()
    train.batch_size = 16  # Images in a step, over all devices.
    train.epochs = 120.0  # The length of the schedule, unless total_steps is positive.
    train.total_steps = 0
    train.accumulate = 1  # Micro-batches a step; batch norm sees the smaller batch.
    train.max_minutes = 0.0  # Save and stop cleanly after this long; 0: no limit.
    train.log_every_steps = 50
    train.eval_every_epochs = 1.0  # 0: only at the end.
    train.checkpoint_every_steps = 1000
    train.keep_checkpoints = 2  # The newest ones; the best is kept besides.
    train.num_pictures = 4  # Predicted validation pictures in TensorBoard.

    evaluation = config.eval = ml_collections.ConfigDict()
    evaluation.protocol = "single"
    evaluation.bucket = 64  # Pixels; image sides are padded to multiples of this.
    evaluation.batch_size = 8  # Images at a time, over all devices.
    evaluation.absent_classes = "zero"  # IoU of classes that never occur: 'zero' or 'skip'.
    evaluation.max_images = 0  # 0: all; fewer is for a quick look and stands in the report.
    return config
