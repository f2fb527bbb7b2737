"""Draws the augmentation of one example and computes its geometry, in pure NumPy.

apply.py changes the pixels accordingly.
"""

from typing import Any, NamedTuple

import numpy as np

from encnet_jax import pictures

_AUGMENT_STREAM = 1  # Makes these random numbers independent of those of order.py.


class AugmentParams(NamedTuple):
    """Augmentation parameters of one example in one epoch.

    flip: 1.0 mirrors left and right. scale: factor. angle: degrees, counter-clockwise.
    u, v: position of the crop as a fraction in [0, 1) of its horizontal and vertical
    range; for crops around centres u also selects the centre. blur: sigma of the
    Gaussian in pixels, 0 for none. brightness, contrast, saturation: factors, 1 for no
    change. hue: shift in turns of the colour circle, 0 for none.
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
    """Maps positions in the crop to positions in the image and in the mask.

    A matrix f64[2, 3] maps (x, y, 1) in the crop to (x, y) in the source. Positions are
    in pixels from the image's top left corner; the first pixel's centre is (0.5, 0.5).

    resized: (height, width) to which the image is first resized with antialiasing.
    image_matrix: crop -> resized image. label_matrix: crop -> mask, which is not
    resized. corner: (top, left) of the crop in the scaled image.
    """

    resized: tuple[int, int]
    image_matrix: np.ndarray
    label_matrix: np.ndarray
    corner: tuple[int, int]


def draw(augment: Any, *, seed: int, epoch: int, index: int) -> AugmentParams:
    """Draws the parameters of an example; equal arguments give equal parameters."""
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
    """Returns f64[3, 4], which maps (red, green, blue, 1) to the changed colours.

    The matrix combines brightness, contrast, saturation and hue, in this order. The
    caller rounds and clips to 0..255 only once, after all four.

    Args:
        params: Augmentation parameters of the example.
        mean: f64[3], mean of each channel in 0..255; contrast keeps its luma constant.

    Source: factors as in torchvision's ColorJitter. Unlike there, the order is fixed,
    and hue rotates in the plane of equal luma (YIQ) instead of HSV's hexagon.
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
    """Returns (height, width) of the image after the random scale.

    Source: PyTorch-Encoding datasets/base.py, _sync_transform: the short side at commit
    f891919, the long side at HEAD, each with the rounding of that version.
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
    """Returns f64[3, 3]: position in an image of size target -> at size source."""
    return np.diag([source[1] / target[1], source[0] / target[0], 1.0])


def _crop_to_scaled(angle: float, size: tuple[int, int], corner: tuple[int, int]):
    """Returns f64[3, 3]: position in the crop -> in the scaled, not rotated image."""
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
    """Returns the matrix f64[2, 3] from a crop to its source image; see Geometry.

    The image is mirrored, scaled to `scaled`, rotated about its centre, and cropped at
    `corner`, in this order; the matrix is the inverse.

    Args:
        params: Augmentation parameters; only flip and angle are used.
        source: (height, width) of the source image.
        scaled: (height, width) after scaling.
        corner: (top, left) of the crop in the scaled and rotated image.
    """
    matrix = _scaling(scaled, source) @ _crop_to_scaled(params.angle, scaled, corner)
    if params.flip:
        matrix = np.array([[-1.0, 0, source[1]], [0, 1, 0], [0, 0, 1]]) @ matrix
    return matrix[:2]


def geometry(params: AugmentParams, height: int, width: int, data: Any) -> Geometry:
    """Computes the geometry of the augmentation of one example.

    The crop starts at a whole pixel, uniformly distributed over the image; with
    augment.crop_centres, it is as near to one of them as the image's borders allow. If
    the scaled image is smaller than the crop, it is padded on the right and below.

    Args:
        params: Augmentation parameters of the example.
        height: height of the image and mask as stored, pixels.
        width: their width, pixels.
        data: Fields crop_size, input_scale and augment of encnet_jax.config.defaults.
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
    """Returns (top, left) of a crop around a centre, shifted to lie inside the image.

    Source: the data loader of Wang et al., WACV 2018, whose crops may leave the image.
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
