"""Samples augmentation parameters and computes the crop's position in the image.

The pixels are augmented in apply.py.
"""

from typing import Any, NamedTuple

import numpy as np

from encnet_jax import pictures

_AUGMENT_STREAM = 1  # Makes these random numbers independent of those of order.py.


class AugmentParams(NamedTuple):
    """Augmentation parameters of one example in one epoch.

    Attributes:
        flip: 1.0 if the image is mirrored horizontally, otherwise 0.0.
        scale: factor by which the function scaled_size scales the image.
        angle: rotation in degrees, counter-clockwise.
        u: random number in [0, 1) that determines the horizontal position of the crop.
            If data.augment.crop_centres is set, u also selects one of these centres.
        v: random number in [0, 1) that determines the vertical position of the crop.
        blur: sigma of the Gaussian blur in pixels, 0 for no blur.
        brightness, contrast, saturation: factors, 1 for no change.
        hue: rotation of the hue as a fraction of a full turn, 0 for no change.
    """

    flip: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    u: float = 0.0
    v: float = 0.0
    blur: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    @property
    def changes_colours(self) -> bool:
        return (self.brightness, self.contrast, self.saturation, self.hue) != (
            1,
            1,
            1,
            0,
        )


class Geometry(NamedTuple):
    """The position of a crop in an image and in the mask of the image.

    Each matrix maps a position (x, y, 1) in the crop to a position (x, y) in the image
    or mask. Positions are in pixels from the top left corner; the centre of the first
    pixel is (0.5, 0.5).

    Attributes:
        resized: (height, width) to which the image is resized before the crop.
        image_matrix: f64[2, 3], maps positions in the crop to the resized image.
        label_matrix: f64[2, 3], maps positions in the crop to the mask. The mask itself
            is not resized.
        corner: (top, left) of the crop in the scaled and rotated image, pixels.
    """

    resized: tuple[int, int]
    image_matrix: np.ndarray
    label_matrix: np.ndarray
    corner: tuple[int, int]


def draw(augment: Any, *, seed: int, epoch: int, index: int) -> AugmentParams:
    """Samples the augmentation parameters of an example in an epoch.

    Args:
        augment: section data.augment of the configuration.
        seed, epoch, index: The seed of the run, the epoch and the index of the example.
            The random numbers depend only on these three values.
    """
    r = np.random.default_rng([_AUGMENT_STREAM, seed, epoch, index]).random(11)
    scale = augment.scale_min + (augment.scale_max - augment.scale_min) * r[1]
    if augment.scales:
        scale = augment.scales[int(r[1] * len(augment.scales))]
    return AugmentParams(
        flip=float(augment.flip and r[0] < 0.5),
        scale=scale,
        angle=augment.rotate_degrees * (2 * r[2] - 1),
        u=r[3],
        v=r[4],
        blur=r[6] if r[5] < augment.blur_probability else 0.0,
        brightness=1 + augment.brightness * (2 * r[7] - 1),
        contrast=1 + augment.contrast * (2 * r[8] - 1),
        saturation=1 + augment.saturation * (2 * r[9] - 1),
        hue=augment.hue * (2 * r[10] - 1),
    )


# Converts red, green, blue to luma and two colour differences (YIQ). Luma is also the
# grey level towards which a smaller saturation moves the colours.
_YIQ = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.595716, -0.274453, -0.321263],
        [0.211456, -0.522591, 0.311135],
    ]
)


def colour_matrix(params: AugmentParams, mean: np.ndarray) -> np.ndarray:
    """Returns the matrix f64[3, 4] that maps (red, green, blue, 1) to a new colour.

    The matrix changes brightness, contrast, saturation and hue, in this order. The
    caller must round the new colours and clip them to 0..255.

    Args:
        params: Augmentation parameters of the example.
        mean: f64[3], mean colour of the image, in 0..255. A change of contrast keeps
            the luma of the mean colour.

    Source: torchvision's ColorJitter, with three differences. The order of the changes
    is fixed. Colours are rounded only once. The hue is rotated in YIQ instead of HSV,
    so that the luma is kept.
    """
    grey = np.tile(_YIQ[0], (3, 1))
    turn = 2 * np.pi * params.hue
    cos, sin = np.cos(turn), np.sin(turn)
    hue = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    linear = params.brightness * params.contrast * np.eye(3)
    offset = params.brightness * (1 - params.contrast) * (_YIQ[0] @ mean) * np.ones(3)
    after = np.linalg.inv(_YIQ) @ hue @ _YIQ
    after = after @ (params.saturation * np.eye(3) + (1 - params.saturation) * grey)
    return np.column_stack([after @ linear, after @ offset])


def scaled_size(
    params: AugmentParams, height: int, width: int, augment: Any
) -> tuple[int, int]:
    """Returns the (height, width) of an image after scaling by params.scale.

    The rule is selected by augment.scale_relative_to:
    'image': height and width are multiplied by params.scale.
    'short_side': the smaller of height and width becomes base_size * params.scale.
    'long_side': the larger of height and width becomes base_size * params.scale.

    Source: _sync_transform in PyTorch-Encoding's datasets/base.py. The rounding is that
    of commit f891919 for 'short_side', and that of HEAD for 'long_side'.
    """
    if augment.scale_relative_to == "image":
        return pictures.scaled_size(height, width, params.scale)
    side = int(augment.base_size * params.scale)
    if augment.scale_relative_to == "short_side":
        if height > width:
            return int(height * side / width), side
        return side, int(width * side / height)
    if height > width:
        return side, int(width * side / height + 0.5)
    return int(height * side / width + 0.5), side


def _scaling(target: tuple[int, int], source: tuple[int, int]) -> np.ndarray:
    """Returns the matrix f64[3, 3] that maps a resized image to the source image.

    Args:
        target: (height, width) of the resized image.
        source: (height, width) of the image before resizing.
    """
    return np.diag([source[1] / target[1], source[0] / target[0], 1.0])


def _crop_to_scaled(angle: float, size: tuple[int, int], corner: tuple[int, int]):
    """Returns the matrix f64[3, 3] that maps positions in the crop to the scaled image.

    Args:
        angle: rotation of the scaled image before it is cropped, degrees.
        size: (height, width) of the scaled image.
        corner: (top, left) of the crop in the scaled and rotated image.
    """
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    centre_x, centre_y = size[1] / 2, size[0] / 2
    x, y = corner[1] - centre_x, corner[0] - centre_y
    return np.array(
        [
            [cos, -sin, cos * x - sin * y + centre_x],
            [sin, cos, sin * x + cos * y + centre_y],
            [0.0, 0.0, 1.0],
        ]
    )


def projective_matrix(
    params: AugmentParams, source: tuple[int, int], scaled: tuple[int, int], corner
) -> np.ndarray:
    """Returns the matrix f64[2, 3] that maps positions in a crop to the source image.

    The crop is made from the source image by mirroring, scaling, rotating about the
    centre, and cropping, in this order.

    Args:
        params: Augmentation parameters; only flip and angle are used.
        source: (height, width) of the source image.
        scaled: (height, width) of the scaled image.
        corner: (top, left) of the crop in the scaled and rotated image.
    """
    matrix = _scaling(scaled, source) @ _crop_to_scaled(params.angle, scaled, corner)
    if params.flip:
        matrix = np.array([[-1.0, 0, source[1]], [0, 1, 0], [0, 0, 1]]) @ matrix
    return matrix[:2]


def geometry(params: AugmentParams, height: int, width: int, data: Any) -> Geometry:
    """Computes the position of a crop in the image and in the mask.

    The crop is placed at random inside the scaled image, at a whole pixel. If
    data.augment.crop_centres is set, the crop is centred near one of these points
    instead, and shifted if it would leave the image. If the scaled image is smaller
    than the crop, the crop is padded at the right and at the bottom.

    Args:
        params: Augmentation parameters of the example.
        height: height of the image and mask before resizing, pixels.
        width: width of the image and mask before resizing, pixels.
        data: section `data` of the configuration; only the fields crop_size,
            input_scale and augment are used.
    """
    native, augment = (height, width), data.augment
    inputs = pictures.scaled_size(height, width, data.input_scale)
    scaled = scaled_size(params, *inputs, augment)
    room = [max(side - data.crop_size, 0) for side in scaled]
    if augment.crop_centres:
        corner = _corner_near_centre(params, native, scaled, room, data)
    else:
        corner = (int(params.v * (room[0] + 1)), int(params.u * (room[1] + 1)))
    resized = scaled if augment.antialias else inputs
    return Geometry(
        resized=resized,
        image_matrix=projective_matrix(params, resized, scaled, corner),
        label_matrix=projective_matrix(params, native, scaled, corner),
        corner=corner,
    )


def _corner_near_centre(params, native, scaled, room, data) -> tuple[int, int]:
    """Returns (top, left) of a crop centred near one of augment.crop_centres.

    The crop is shifted if it would leave the image.

    Args:
        params: Augmentation parameters of the example.
        native: (height, width) of the image before resizing; the centres are
            positions in this image.
        scaled: (height, width) of the scaled image.
        room: largest (top, left) at which the crop lies inside the scaled image.
        data: Section `data` of the configuration.

    Source: the data loader of Wang et al., WACV 2018, except that their crops may leave
    the image.
    """
    augment = data.augment
    index, across = divmod(params.u * len(augment.crop_centres), 1)
    offsets = [augment.crop_jitter * (2 * share - 1) for share in (params.v, across)]
    corner = []
    for axis, centre in enumerate(augment.crop_centres[int(index)]):
        middle = (centre + offsets[axis]) * scaled[axis] / native[axis]
        start = round(middle - data.crop_size / 2)
        corner.append(min(max(start, 0), room[axis]))
    return tuple(corner)
