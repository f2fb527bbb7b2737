"""Every field of a configuration: its meaning, its unit, its allowed values.

Each file in configs/ changes a few of these fields. `python train.py --config
configs/NAME.py --config.optim.base_lr=0.02` overrides one from the shell.
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """Returns the default configuration: EncNet-50, architecture 'tuned'."""
    config = ml_collections.ConfigDict()
    config.task = "segmentation"  # 'segmentation' or 'classification'.
    # Fills fields left None: 'tuned', 'paper', 'release', 'mmseg', 'duc_released'.
    config.architecture = "tuned"
    config.seed = 0  # Decides initial weights, data order, augmentation and dropout.
    # A workdir or weight file whose parameters training starts from.
    config.init_from = ""
    # What of it may be missing or differ, comma separated: 'head/classifier,aux_head'.
    config.init_skip = ""
    # Trace ten steps into WORKDIR/plugins/profile; print how long the device idled.
    config.profile = False
    config.data = _data()
    config.model = _model()
    config.loss = _loss()
    config.optim = _optim()
    config.train = _train()
    config.eval = _evaluation()
    return config


def _data() -> ml_collections.ConfigDict:
    """What is read, and how it is augmented."""
    data = ml_collections.ConfigDict()
    # A data set of encnet_jax.data.sets.catalogue, 'folder' (images and masks), or
    # 'image_folder' (a folder of images for each class).
    data.name = "ade20k"
    data.data_dir = "data"  # Where prepared data sets are; local or gs://.
    data.reader = "tfds"  # 'tfds' (tf.data), or 'arrays' (.npz files, no TensorFlow).
    data.train_split = "train"
    data.val_split = "val"  # Empty: nothing is scored during training.
    data.max_unreadable_share = (
        0.0  # Of the training images; more of them stop the run.
    )
    # Millions of pixels; a larger image is refused before it is decoded.
    data.max_megapixels = 200.0
    data.max_file_mib = 8192.0  # Of an array of an .npz file, once it is unpacked.
    # Grey images of more than 8 bits: the values that are black and white, such as
    # (0, 65535). Empty: such images are refused.
    data.value_range = ()
    data.crop_size = 480  # Pixels; training crops are squares of this side.
    # Classification: keep the set on the devices, augment there.
    data.on_device = False
    # Classification: train on an epoch's last, smaller batch too; else it is dropped.
    data.keep_last_batch = False
    # Classification: pixels are divided by it; of red, green, blue in [0, 1].
    data.channel_std = (0.2470, 0.2435, 0.2616)
    # Images are resized by this first; scores stay at native size.
    data.input_scale = 1.0
    augment = data.augment = ml_collections.ConfigDict()
    augment.flip = True  # Mirror left and right with probability 1/2.
    augment.scale_min = 0.5  # The scale is drawn uniformly from [scale_min, scale_max].
    augment.scale_max = 2.0
    augment.scales = ()  # If any, the scale is one of these instead.
    # Pixels of the stored image: (row, column) of the middles of crops, one of which is
    # drawn, and how far a crop may be off; none: crops are anywhere.
    augment.crop_centres = ()
    augment.crop_jitter = 0
    # 'image', 'short_side' or 'long_side' (of base_size).
    augment.scale_relative_to = "image"
    augment.base_size = 520  # Pixels; used unless scale_relative_to is 'image'.
    augment.rotate_degrees = 10.0  # The angle is drawn uniformly from [-this, this].
    # Gaussian blur with a radius drawn from [0, 1) pixels.
    augment.blur_probability = 0.0
    # Resize as Pillow does (True), or in one projective resampling.
    augment.antialias = False
    # Half ranges of the colour changes, drawn uniformly: factors from [1 - this,
    # 1 + this], each in [0, 1]; the hue from [-this, this] turns, in [0, 0.5].
    augment.brightness = 0.0
    augment.contrast = 0.0
    augment.saturation = 0.0
    augment.hue = 0.0
    # Image files that are classified: least share of the image's area in a crop.
    augment.area_min = 0.08
    augment.pad = 4  # Classification: pixels of black on each side before the crop.
    # Only for name='folder' and, of them images alone, 'image_folder'.
    folder = data.folder = ml_collections.ConfigDict()
    # '{split}' is replaced: 'my_data/{split}/images'; 'image_folder' has the classes'
    # folders below.
    folder.images = ""
    folder.masks = ""  # Index PNGs of the same stems: 'my_data/{split}/masks'.
    folder.class_names = ()  # One name for each class, in the order of the ids.
    folder.ignore_ids = (255,)  # Mask values that are neither trained nor scored.
    folder.first_id = 0  # The mask value of the first class.
    return data


def _model() -> ml_collections.ConfigDict:
    """The network."""
    model = ml_collections.ConfigDict()
    # 'encnet', 'fcn', 'pspnet', 'deeplabv3', 'duc', 'piecewise_crf'; classification:
    # 'resnet', 'se_resnet', 'encnet' (of 32x32 pixels), 'backbone' (model.backbone and
    # a linear layer).
    model.name = "encnet"
    model.backbone = "resnet50"  # 'resnet18', '34', '50', '101', '152', or 'tiny'.
    model.stem = "deep"  # 'deep': three 3x3 convolutions; 'conv7': one 7x7.
    model.avg_down = False  # Average pooling before the 1x1 shortcuts (ResNet-D).
    model.output_stride = 8  # 8, 16 or 32.
    # Rates of the stages that keep their resolution: 'plain', 'none', 'hdc_rf',
    # 'hdc_bigger', 'hdc_released', or one for each block: '1,2,5,9,1,2/5,9,17'.
    model.dilation = "plain"
    model.num_codes = 32  # K of the paper; 0 means global average pooling (Figure 5).
    model.width = 64  # Classification: channels of the first stage.
    # Classification: drawn in training instead of learned.
    model.draw_smoothing = False
    # Classification: residual blocks as in the 'paper' or in the 'authors' code.
    model.block = "paper"
    model.se_loss = True  # Class-presence branch.
    # Whether SE-losses train more than the branch's own layer.
    model.se_gradient = True
    # Added to the first biases of EncNet's gate: above 0 it starts open.
    model.gate_bias = 0.0
    model.dropout = 0.1  # Probability of dropping an input of the last convolution.
    # Devices that share batch-norm statistics, neighbours of a slice; 0: all of them.
    model.norm_group = 0
    # Recompute residual blocks in the backward pass to save memory.
    model.remat = False
    # Compute type: 'float32' or 'bfloat16'; parameters stay float32.
    model.dtype = "float32"
    model.aux_channels = 256  # Channels inside the auxiliary head.
    duc = model.duc = ml_collections.ConfigDict()  # Only for name='duc'.
    duc.cell = 2  # Pixels between its logits, 1, 2 or 4.
    duc.rates = (6, 12, 18, 24)  # Of the 3x3 convolutions whose sum it is.
    model.crf = _crf()  # Only for name='piecewise_crf'.
    # The rest is filled in from `architecture` where it is None.
    # The deep stem ends with twice as many channels.
    model.stem_width = placeholder(int)
    # The stride of a bottleneck on its first 1x1 convolution instead of its 3x3.
    model.stride_first = placeholder(bool)
    model.padded_pool = placeholder(bool)  # Whether the stem's pooling sees a border.
    model.norm_epsilon = placeholder(float)  # Added to the variance in batch norms.
    # Batch norms keep the running statistics they start with; scales, biases learn.
    model.frozen_norm = placeholder(bool)
    # 'unit': pixels less the mean over the deviation; 'mean': less the mean, 0..255.
    model.pixels = placeholder(str)
    model.align_corners = placeholder(bool)  # Corner convention of the upsampling.
    model.head_channels = placeholder(int)  # Channels inside the head.
    # Of ReLU(BN(e_k)) over codewords: 'sum', 'mean'.
    model.code_pooling = placeholder(str)
    model.gate = placeholder(str)  # 'scale': x * s; 'residual': relu(x + x * s).
    model.aux = placeholder(str)  # On stage 3: 'context', 'fcn' or 'none'.
    model.lateral = placeholder(bool)  # Fuse stages 2 and 3 into EncNet's head.
    model.head_convs = placeholder(int)  # 3x3 convolutions of an FCN head.
    # Leave out what is beyond the image where it is padded to be scored.
    model.mask_padding = placeholder(bool)
    # Positions of a training crop's featuremap: codes of images with more or fewer are
    # scaled to as many. 0: sums are taken as they come.
    model.reference_positions = placeholder(int)
    # Join an FCN head's input to its output; DeepLabV3 reads its branches unprojected.
    model.head_concat_input = placeholder(bool)
    return model


def _crf() -> ml_collections.ConfigDict:
    """The contextual CRF."""
    crf = ml_collections.ConfigDict()
    # 'plain': one scale; 'pyramid': and its sliding maxima; 'scales': both, at the
    # scales 1.2, 0.8 and 0.4 of the image.
    crf.features = "scales"
    # Pairs that are scored: 'none', 'surrounding', 'above_below', 'both'.
    crf.pairwise = "both"
    crf.box = 0.4  # Side of the range box, relative to the map's short side.
    crf.hidden_channels = 512  # Of the unary and pairwise networks.
    crf.num_updates = 3  # Of mean field, in evaluation.
    # MiB of a device that K x K scores may take at once; less makes more steps.
    crf.max_score_mib = 256.0
    return crf


def _loss() -> ml_collections.ConfigDict:
    """The terms of the loss."""
    loss = ml_collections.ConfigDict()
    loss.se_weight = 0.2  # alpha of the paper: weight of each SE-loss.
    loss.aux_weight = 0.2  # Weight of an auxiliary pixel cross-entropy.
    # Of the piecewise loss (model.name='piecewise_crf'): the nodes', each relation's.
    loss.unary_weight = 1.0
    loss.pairwise_weight = 1.0
    # Full-resolution logits exist for 1/row_blocks of the rows at a time.
    loss.row_blocks = 20
    # 'upsampled': logits to the labels; 'thinned': every n-th label, to the logits.
    loss.labels = placeholder(str)
    # Departures from the paper's pixel cross-entropy; as they are, there are none.
    # A rule that counts the training pixels when a run starts: 'median_frequency',
    # 'inverse_sqrt', or '' for none. The counted weights are kept with the run.
    loss.class_weighting = ""
    # One factor (at least 0) for each class, in the order of the ids; () for 1 each.
    loss.class_weights = ()
    # Power of (1 - p) before each pixel's term, at least 0; 0: no focal loss.
    loss.focal_gamma = 0.0
    # Share of the target spread over all classes, in [0, 1). Classification too.
    loss.label_smoothing = 0.0
    # Online hard example mining, exact over the global batch: pixels whose label is
    # less probable than this are kept, in [0, 1]; 0: this keeps none.
    loss.ohem_threshold = 0.0
    # Pixels for each image, at least 0, that are kept in any case, the hardest of the
    # batch; with ohem_threshold 0 they alone are. 0 and 0: no mining.
    loss.ohem_min_kept = 0
    loss.dice_weight = 0.0  # Weight of a Dice term on the main logits, at least 0.
    return loss


def _optim() -> ml_collections.ConfigDict:
    """The optimiser and its schedule."""
    optim = ml_collections.ConfigDict()
    optim.name = "sgd"  # 'sgd' (with momentum) or 'adamw'.
    optim.base_lr = 0.01
    optim.scale_lr_by_batch = False  # Multiply base_lr by batch_size / lr_batch_size.
    optim.lr_batch_size = 16  # Images, above 0: the batch that base_lr is meant for.
    # 'poly' and 'cosine' end at 0; 'halving' halves at the end of each equal part.
    optim.schedule = "poly"
    optim.halving_parts = 6  # Of the run under 'halving'; the last ends unhalved.
    optim.poly_power = 0.9
    # Share of the run that the cosine is ahead; past its end it rises again.
    optim.cosine_ahead = 0.0
    optim.warmup_steps = 0  # Linear from 0.
    optim.momentum = 0.9  # In [0, 1); AdamW's first beta.
    optim.adam_beta2 = 0.999  # In [0, 1); AdamW's second beta.
    optim.weight_decay = 1e-4
    optim.decay_norm_and_bias = True  # As in the reference; False exempts them.
    # Of biases, those of norms included; False exempts them. By architecture.
    optim.decay_bias = placeholder(bool)
    # Patterns of parameters without weight decay: ('head/context/encoding',).
    optim.undecayed = ()
    # Each element of the gradient is cut to [-this, this]; 0: none. By architecture.
    optim.clip_element = placeholder(float)
    # Outside the backbone; by architecture.
    optim.head_lr_multiplier = placeholder(float)
    # Factors on learning rates by names of parameters, at least 0; those of several
    # patterns multiply: ('backbone/stem=0.1', 'head/*=2').
    optim.lr_multipliers = ()
    # Patterns of parameters that stay as they are: ('backbone/stem',). Their batch
    # norms go on measuring, unlike with train.freeze.
    optim.frozen = ()
    # Largest norm of all gradients together, above 0; 0: not clipped.
    optim.clip_norm = 0.0
    # Of the moving average of the weights, less in the first steps; 0: no average.
    optim.ema_decay = 0.0
    return optim


def _train() -> ml_collections.ConfigDict:
    """The length of a run, and what happens on the way."""
    train = ml_collections.ConfigDict()
    train.batch_size = 16  # Images in a step, over all devices.
    train.epochs = 120.0  # The length of the schedule, unless total_steps is positive.
    train.total_steps = 0
    # 'backbone': its weights and statistics stay as they start, and its batch norms use
    # them (with init_from, a linear probe); '': all is trained.
    train.freeze = ""
    train.accumulate = 1  # Micro-batches a step; batch norm sees the smaller batch.
    train.max_minutes = 0.0  # Save and stop cleanly after this long; 0: no limit.
    train.log_every_steps = 50
    train.eval_every_epochs = 1.0  # 0: only at the end.
    train.checkpoint_every_steps = 1000
    # Also so long after the last one, at a step that is logged; 0: steps alone decide.
    train.checkpoint_every_minutes = 0.0
    train.keep_checkpoints = 2  # The newest ones; the best is also kept.
    train.num_pictures = 4  # Predicted validation pictures in TensorBoard.
    train.val_protocol = "single"  # Of scores during training; one of eval.protocol's.
    return train


def _evaluation() -> ml_collections.ConfigDict:
    """How a checkpoint is scored."""
    evaluation = ml_collections.ConfigDict()
    # 'single': whole images at their own size. 'multiscale': mean over scales and flips
    # of the same. 'release': sliding windows as in the released code. 'centre_crop':
    # the middle of each image, for watching a run.
    evaluation.protocol = "single"
    evaluation.bucket = 64  # Pixels; image sides are padded to multiples of this.
    evaluation.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # 'multiscale', 'release'.
    evaluation.flip = True  # Average with mirror images; 'multiscale', 'release'.
    # Pixels of the long side at scale 1 ('release'); None: data.augment.base_size.
    evaluation.base_size = placeholder(int)
    # Pixels; side of a window ('release') or of the crop ('centre_crop'); None:
    # data.crop_size.
    evaluation.crop_size = placeholder(int)
    # 'dense' sharpens the averaged scores by a dense CRF; 'none' does not.
    evaluation.refine = "none"
    dense = evaluation.dense = ml_collections.ConfigDict()  # Only for refine='dense'.
    # Kernel of distance and colour: its weight, and its standard deviations in pixels
    # and in grey levels. `python -m encnet_jax.report refine RUN` searches all five.
    dense.bilateral_weight = 4.0
    dense.bilateral_px = 20.0
    dense.bilateral_levels = 10.0
    dense.spatial_weight = 3.0  # Kernel of the distance alone, likewise.
    dense.spatial_px = 3.0
    dense.radius = 5  # Pixels; both kernels end here.
    dense.iterations = 5  # Of mean field.
    evaluation.batch_size = 8  # Images or windows at a time, over all devices.
    # IoU of classes that never occur: 'zero' or 'skip'.
    evaluation.absent_classes = "zero"
    # Also report scores for objects below and above this many pixels; 0 turns it off.
    evaluation.small_object_px = 0
    # Recompute batch-norm statistics on this many training batches; 0: as trained.
    evaluation.precise_norm_steps = 0
    # What is upsampled to the image: 'logits' or 'probabilities'; by architecture.
    evaluation.upsampled = placeholder(str)
    # 0: all; a smaller number is for a quick look, and the report states it.
    evaluation.max_images = 0
    return evaluation
