"""Generated scenes in which the class of a patch depends on distant context.

The data set illustrates why a network needs context (EncNet paper, Figure 4: sand or
earth?). Each scene is a beach, fields or a town. Only three small cues near one edge of
the image show the type of the scene: parasols, trees or houses. Far from the cues are
patches of sand, water and stone. They look the same in all scenes, but their labels
depend on the type of the scene. A network whose receptive field is smaller than 112
pixels (FAR_PX) can only guess the label of a patch.
"""

import functools

import numpy as np

from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES
from encnet_jax.data.sources.info import DatasetInfo, consecutive_ids
from encnet_jax.data.sources.prepared import RecordSource
from encnet_jax.data.sources.records import Record

SIZE_PX = 192  # Side of the square images.
NUM_IMAGES = {"train": 400, "val": 100}
FAR_PX = 112  # Every ambiguous pixel is at least this far from the centre of any cue.
CUE_RADIUS_PX = 8
KINDS = ("beach", "fields", "town")
CLASSES = {  # Name -> RGB in coloured label images.
    "ground": (196, 214, 160),
    "parasol": (226, 60, 60),
    "tree": (24, 104, 40),
    "house": (150, 70, 170),
    "sand": (250, 220, 120),
    "earth": (140, 90, 40),
    "gravel": (200, 170, 150),
    "sea": (20, 70, 190),
    "pond": (40, 150, 160),
    "pool": (110, 210, 250),
    "rock": (80, 80, 90),
    "wall": (150, 150, 150),
    "road": (60, 40, 60),
}
_FIRST_PATCH_ID = 4  # Texture t in a scene of kind k has the id 4 + 3 * t + k.


def generate(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Generates one image and its label; equal arguments give equal arrays.

    Args:
        split: 'train' or 'val'.
        index: Index of the image in the split, non-negative.

    Returns:
        (image uint8[192, 192, 3], label uint8[192, 192] of train ids).
    """
    size = SIZE_PX
    rng = np.random.default_rng([list(NUM_IMAGES).index(split), index])
    kind = int(rng.integers(len(KINDS)))
    y, x = np.mgrid[:size, :size]
    image = _ground(rng, size)
    label = np.zeros((size, size), np.uint8)

    centres = _cue_centres(rng, size)
    distance = np.min([np.hypot(y - cy, x - cx) for cy, cx in centres], axis=0)
    heights = np.stack([_smooth_noise(rng, size, cells=4) for _ in range(3)])
    texture = heights.argmax(0)
    patch = (heights.max(0) > 0.5) & (distance >= FAR_PX)
    textures = (_sandy(rng, size), _watery(rng, size), _stony(rng, size))
    for t, pixels in enumerate(textures):
        where = patch & (texture == t)
        image[where] = pixels[where]
        label[where] = _FIRST_PATCH_ID + len(KINDS) * t + kind

    for cy, cx in centres:
        pixels, where = (_parasol, _tree, _house)[kind](rng, y - cy, x - cx)
        image[where] = pixels[where]
        label[where] = 1 + kind
    image *= rng.uniform(0.9, 1.08)
    image += rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8), label


def _smooth_noise(rng: np.random.Generator, size: int, *, cells: int) -> np.ndarray:
    """Returns smooth noise f64[size, size] in [0, 1] by interpolating a random grid."""
    grid = rng.random((cells + 1, cells + 1))
    position = np.linspace(0, cells, size, endpoint=False)
    cell = position.astype(int)
    t = position - cell
    t = t * t * (3 - 2 * t)
    rows = grid[cell] * (1 - t)[:, None] + grid[cell + 1] * t[:, None]
    return rows[:, cell] * (1 - t) + rows[:, cell + 1] * t


def _cue_centres(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns the centres (y, x) of three cues near one edge, as f64[3, 2] in pixels.

    Cues are the parasols, trees or houses that show the type of the scene.
    """
    along = rng.uniform(0.12, 0.88) * size + np.array([-20, 0, 20])
    along = np.clip(along, 10, size - 11)
    along += rng.uniform(-3, 3, 3)
    across = rng.uniform(9, 16, 3)
    if rng.random() < 0.5:
        across = size - 1 - across
    centres = np.stack([along, across], axis=1)
    return centres[:, ::-1] if rng.random() < 0.5 else centres


def _mix(weight: np.ndarray, low: tuple, high: tuple) -> np.ndarray:
    """Interpolates linearly between `low`, for `weight` 0, and `high`, for `weight` 1.

    Returns:
        f64[..., 3] for `weight` f64[...].
    """
    return np.array(low) + weight[..., None] * np.subtract(high, low)


def _ground(rng, size: int) -> np.ndarray:
    """Returns an image f64[size, size, 3] of a meadow with flowers: class 'ground'."""
    meadow = _smooth_noise(rng, size, cells=10) * 0.6 + rng.random((size, size)) * 0.4
    image = _mix(meadow, (160, 184, 120), (204, 216, 160))
    for fy, fx in rng.integers(2, size - 2, (40, 2)):
        petals = [(255, 250, 240), (250, 220, 90)][int(rng.integers(2))]
        image[fy - 1 : fy + 2, fx] = petals
        image[fy, fx - 1 : fx + 2] = petals
    return image


def _sandy(rng, size: int) -> np.ndarray:
    grain = 0.35 * _smooth_noise(rng, size, cells=12) + 0.65 * rng.random((size, size))
    return _mix(grain, (196, 154, 96), (236, 204, 150))


def _watery(rng, size: int) -> np.ndarray:
    y = np.arange(size)[:, None]
    sway = 9 * _smooth_noise(rng, size, cells=6)
    wave = np.sin(0.9 * y + sway + rng.uniform(0, 6.28))
    return _mix((wave + 1) / 2, (52, 112, 176), (120, 178, 220))


def _stony(rng, size: int) -> np.ndarray:
    """Returns an image f64[size, size, 3] of rows of cobblestones.

    Each stone is 8 pixels high and 12 pixels wide. Every second row is shifted by half
    a stone.
    """
    y, x = np.mgrid[:size, :size] + rng.integers(0, 24, (2, 1, 1))
    row = y // 8
    column = (x + 6 * (row % 2)) // 12
    joint = (y % 8 == 0) | ((x + 6 * (row % 2)) % 12 == 0)
    shade = rng.random((size // 8 + 4, size // 12 + 4))[row, column]
    image = _mix(shade, (120, 118, 122), (170, 168, 170))
    image[joint] = (92, 90, 96)
    return image


def _parasol(rng, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sector = np.floor((np.arctan2(dy, dx) + rng.uniform(0, 6.28)) / (np.pi / 4))
    image = _mix(sector % 2, (222, 48, 52), (252, 248, 244))
    return image, np.hypot(dy, dx) <= CUE_RADIUS_PX


def _tree(rng, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    leaves = 1 + np.sin(7 * np.arctan2(dy, dx) + rng.uniform(0, 6.28)) * 0.12
    radius = np.hypot(dy, dx) / (CUE_RADIUS_PX * leaves)
    light = np.clip(0.55 - (dy + dx) / (3 * CUE_RADIUS_PX), 0, 1)
    return _mix(light, (14, 66, 30), (60, 140, 60)), radius <= 1


def _house(rng, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turn = rng.uniform(0, 3.14)
    a, b = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    image = _mix((b > 0).astype(float), (118, 48, 140), (176, 96, 196))
    image[np.abs(b) < 0.7] = (70, 26, 84)
    return image, (np.abs(a) <= CUE_RADIUS_PX) & (np.abs(b) <= 0.75 * CUE_RADIUS_PX)


class ScenesSource(RecordSource):
    """Generates scenes on first use and keeps the encoded scenes in memory."""

    def __init__(self, info: DatasetInfo):
        super().__init__(info, DEFAULT_RULES)

    def sizes(self) -> dict[str, int]:
        return dict(NUM_IMAGES)

    def record(self, split: str, index: int) -> Record:
        image, mask = _drawn_scene(split, index)
        name = f"{split}_{index:04d}"
        return Record(name, image, mask, f"scene {name}", f"mask of scene {name}")


@functools.cache
def _drawn_scene(split: str, index: int) -> tuple[bytes, bytes]:
    image, label = generate(split, index)
    return decode.encode_png(image), decode.encode_png(label)


DATA_SET = DatasetInfo(
    name="scenes",
    class_names=tuple(CLASSES),
    colours=np.array(list(CLASSES.values()), np.uint8),
    id_map=consecutive_ids(len(CLASSES)),
    splits=tuple(NUM_IMAGES),
    source="generated by encnet_jax.data.sets.scenes",
    open_source=lambda info, data: ScenesSource(info),
)
