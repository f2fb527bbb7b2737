"""Section `data`: the data set, and how it is read and augmented."""

import dataclasses

from encnet_jax.fields import (
    COUNT,
    FLAG,
    SIDE,
    TEXT,
    Allowed,
    Section,
    above,
    between,
    field,
    group,
    is_number,
    one_of,
    several,
)

_SCALE = between(0.02, 50)


def _is_range(value) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return pair and all(map(is_number, value)) and value[0] < value[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig(Section):
    """Random augmentation of training images."""

    flip: bool = field(True, FLAG, "Mirror left and right with probability 1/2.")
    scale_min: float = field(
        0.5,
        _SCALE,
        "The factor by which the image is resized is drawn uniformly from [scale_min,"
        " scale_max].",
    )
    scale_max: float = field(2.0, _SCALE, "See data.augment.scale_min.")
    scales: tuple[float, ...] = field(
        (),
        several(_SCALE, "scales, each 0.02 to 50"),
        "Values from which the scale is drawn, instead of from [scale_min, scale_max];"
        " empty: not used.",
    )
    crop_centres: tuple[tuple[int, int], ...] = field(
        (),
        several(
            several(COUNT, "a row and a column", 2, 2), "pairs of a row and a column"
        ),
        "(row, column) of crop centres, in pixels of the stored image; one is drawn for"
        " each crop. Empty: crops may be anywhere.",
    )
    crop_jitter: int = field(
        0,
        between(0, 1 << 15),
        "Largest distance of a crop's centre from the centre drawn from crop_centres,"
        " along each axis, in pixels of the stored image.",
    )
    scale_relative_to: str = field(
        "image",
        one_of("image", "short_side", "long_side"),
        "Size of an image at scale 1. 'image': the image's own size; 'short_side' or"
        " 'long_side': this side has data.augment.base_size pixels.",
    )
    base_size: int = field(
        520,
        SIDE,
        "Length of the short or long side at scale 1, in pixels; not used if"
        " data.augment.scale_relative_to is 'image'.",
    )
    rotate_degrees: float = field(
        10.0,
        between(0, 180),
        "The rotation angle is drawn uniformly from [-rotate_degrees, rotate_degrees].",
    )
    blur_probability: float = field(
        0.0,
        between(0, 1),
        "Probability of a Gaussian blur, whose radius is drawn from [0, 1) pixels.",
    )
    antialias: bool = field(
        False,
        FLAG,
        "True: scale images with Pillow's antialiasing filter. False: crop, scale and"
        " rotate in one resampling, without antialiasing.",
    )
    brightness: float = field(
        0.0,
        between(0, 1),
        "Brightness factors are drawn uniformly from [1 - brightness, 1 + brightness].",
    )
    contrast: float = field(
        0.0,
        between(0, 1),
        "Contrast factors are drawn uniformly from [1 - contrast, 1 + contrast].",
    )
    saturation: float = field(
        0.0,
        between(0, 1),
        "Saturation factors are drawn uniformly from [1 - saturation, 1 + saturation].",
    )
    hue: float = field(
        0.0,
        between(0, 0.5),
        "Hues are shifted by a fraction of a full turn, drawn uniformly from [-hue,"
        " hue].",
    )
    area_min: float = field(
        0.08,
        above(0, 1),
        "Classification of image files: smallest area of a crop, as a fraction of the"
        " image.",
    )
    pad: int = field(
        4,
        between(0, 1024),
        "Classification: width of the black padding on each side before the crop.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderConfig(Section):
    """Folders of images; only for data.name 'folder' and 'image_folder'."""

    images: str = field(
        "",
        TEXT,
        "Folder of the images, such as 'my_data/{split}/images'; '{split}' is replaced"
        " by the name of the split. For data.name 'image_folder', this folder contains"
        " one folder per class.",
    )
    masks: str = field(
        "",
        TEXT,
        "Folder of the masks, such as 'my_data/{split}/masks'. A mask is an image of"
        " class ids; its file name is that of the image, except for the ending.",
    )
    class_names: tuple[str, ...] = field(
        (),
        several(TEXT, "at most 255 names of classes", most=255),
        "One name for each class, in the order of the ids.",
    )
    colours: tuple[str, ...] = field(
        (),
        several(TEXT, "at most 255 colours such as '#4682b4'", most=255),
        "Colour of each class in label images, in the order of the ids; empty: the"
        " colours of PASCAL VOC.",
    )
    ignore_ids: tuple[int, ...] = field(
        (255,),
        several(between(0, 255), "mask values, each 0 to 255"),
        "Mask values of pixels that are ignored in training and scoring.",
    )
    first_id: int = field(0, between(0, 255), "Mask value of the first class.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """The data set, and how it is read and augmented."""

    name: str = field(
        "ade20k",
        TEXT,
        "The data set: a name in docs/datasets.md, 'folder' (images and masks), or"
        " 'image_folder' (one folder of images per class).",
    )
    data_dir: str = field(
        "data", TEXT, "Folder of prepared data sets: a local path or gs://."
    )
    reader: str = field(
        "auto",
        one_of("auto", "tfds", "arrays"),
        "'tfds': read with tf.data; 'arrays': read .npz files or prepared records in"
        " threads, without TensorFlow; 'auto': 'tfds' if TensorFlow is installed,"
        " otherwise 'arrays'. All readers return the same batches.",
    )
    train_split: str = field(
        "train",
        Allowed("a split, such as train", lambda x: TEXT.fits(x) and bool(x)),
        "Split used for training.",
    )
    val_split: str = field("val", TEXT, "Split scored during training; empty: none.")
    max_unreadable_share: float = field(
        0.0,
        between(0, 1),
        "Largest allowed fraction of unreadable training images; the run stops if the"
        " fraction is larger.",
    )
    max_megapixels: float = field(
        200.0,
        above(0, 1e6),
        "Largest allowed image, in millions of pixels; larger images are rejected.",
    )
    max_file_mib: float = field(
        8192.0,
        above(0, 1e9),
        "Largest allowed size of an array in an .npz file after decompression, in MiB.",
    )
    value_range: tuple[float, ...] = field(
        (),
        Allowed(
            "(), or two numbers in increasing order, such as (0, 65535)",
            lambda x: x in ((), []) or _is_range(x),
        ),
        "Pixel values of black and white in grey images of more than 8 bits, such as"
        " (0, 65535). Empty: images of more than 8 bits are rejected.",
    )
    crop_size: int = field(
        480, SIDE, "Height and width of the training crops, in pixels."
    )
    on_device: bool = field(
        False,
        FLAG,
        "Classification: keep the data set in device memory and augment it there.",
    )
    keep_last_batch: bool = field(
        False,
        FLAG,
        "Classification: also train on an epoch's last, smaller batch; if False, this"
        " batch is dropped.",
    )
    channel_std: tuple[float, ...] = field(
        (0.2470, 0.2435, 0.2616),
        several(above(0, 1e6), "three numbers above 0", 3, 3),
        "Classification: red, green and blue, in [0, 1], are divided by these numbers"
        " after subtraction of the mean.",
    )
    input_scale: float = field(
        1.0,
        _SCALE,
        "Factor by which every image is resized for the network; scores are computed"
        " at the original size.",
    )
    augment: AugmentConfig = group(AugmentConfig)
    folder: FolderConfig = group(FolderConfig)
