"""Labels large images in overlapping tiles.

Where tiles overlap, their logits are blended. The blended logits of all tiles are then
upsampled like the logits of one image. Rows of tiles are processed one after the other,
so the memory for logits depends on the width of the image but not on the height.

Tiles change the labels of networks with global context (EncNet's encoding, pyramid
pooling), because the context is computed from a tile instead of the whole image.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax import pictures
from encnet_jax.models.resize import neighbours, sample_positions
from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import canvas, grouping
from encnet_jax.scoring.protocols.whole_images import canvas_outputs, weights_of

TILE_PX = 1024
OVERLAP_PX = 256
BLOCK_PX = 512  # Side of the blocks of image pixels that are labelled at a time.


class Side(NamedTuple):
    """The tiles along the height or along the width of an image.

    If the tiles are along the width, "row" means column in this class.

    Attributes:
        native: height or width of the image in pixels.
        scaled: height or width in pixels, after resizing by `data.input_scale`.
        tile: height or width of a tile, in pixels of the resized image.
        starts: index of each tile's first row in the resized image, a multiple of
            `stride`.
        stride: number of rows of the resized image per row of logits.
    """

    native: int
    scaled: int
    tile: int
    starts: tuple[int, ...]
    stride: int

    @property
    def logits(self) -> int:
        """The number of rows of logits for the whole image."""
        return -(-(self.starts[-1] + self.tile) // self.stride)

    def weights(self, number: int) -> np.ndarray:
        """Returns f32[n], the blending weights of the n rows of logits of a tile.

        For every row of the image's logits, the weights of all tiles sum to 1.

        Args:
            number: index of the tile.
        """
        rows = -(-self.tile // self.stride)
        ramp = max(1, OVERLAP_PX // self.stride)
        distance = np.minimum(np.arange(rows), np.arange(rows)[::-1]) + 0.5
        fade = np.minimum(distance / ramp, 1)
        total = np.zeros(self.logits)
        for start in self.starts:
            first = start // self.stride
            total[first : first + rows] += fade
        first = self.starts[number] // self.stride
        return (fade / total[first : first + rows]).astype(np.float32)

    def positions(self, align_corners: bool, as_alone: bool) -> np.ndarray:
        """Returns the position of each row of the image among the rows of logits.

        Args:
            align_corners: whether the centres of the corner pixels are aligned.
            as_alone: whether the network ignores padding, so that the positions do not
                depend on the padding.

        Returns:
            f64[native]; 1.5 means halfway between rows 1 and 2 of the logits.
        """
        pixels = np.arange(self.native)
        scaled = sample_positions(pixels, self.native, self.scaled, align_corners)
        side = self.scaled if as_alone else self.starts[-1] + self.tile
        rows = -(-side // self.stride)
        found = sample_positions(scaled, side, rows, align_corners)
        return np.minimum(found, rows - 1)


def plan_side(native: int, scaled: int, stride: int, bucket: int) -> Side:
    """Divides the height or width of an image into overlapping tiles.

    Args:
        native, scaled, stride: see Side.
        bucket: if one tile is enough, its height or width is padded to a multiple of
            this number of pixels.
    """
    if scaled <= TILE_PX:
        tile = canvas.round_up(scaled, bucket)
        return Side(native, scaled, tile, (0,), stride)
    last = canvas.round_up(scaled, stride) - TILE_PX
    step = TILE_PX - OVERLAP_PX
    starts = (*range(0, last, step), last)
    return Side(native, scaled, TILE_PX, starts, stride)


class Tiles:
    """Labels large images in overlapping tiles, and reuses the compiled programs."""

    def __init__(
        self,
        forward: Forward,
        pixel_fn: Callable,
        *,
        bucket: int,
        devices: list,
    ):
        """Creates the functions, which are compiled when the first image is labelled.

        Args:
            forward: the network's forward pass.
            pixel_fn: function (logits f32[..., C], weights f32[..., C]) that returns a
                dict of arrays [...]. The weights are proportional to the probabilities.
            bucket: a height or width that fits into one tile is padded to a multiple of
                this number of pixels.
            devices: devices among which the tiles are distributed.
        """
        self._network, self._bucket, self._devices = forward, bucket, devices
        self._forward = parallel.mapped(
            partial(canvas_outputs, forward=forward),
            (parallel.SHARED, parallel.ROWS),
            devices=devices,
        )

        def described(logits, rows, columns):
            x = jnp.einsum("Hh,hwc->Hwc", rows, logits, precision="high")
            x = jnp.einsum("Ww,Hwc->HWc", columns, x, precision="high")
            return pixel_fn(x, weights_of(x))

        self._described = jax.jit(described)

    def describe(
        self, variables: dict, image: np.ndarray, done: Callable[[float], None]
    ) -> dict[str, np.ndarray]:
        """Labels one image.

        Args:
            variables: the network's variables, on the devices.
            image: uint8[H, W, 3].
            done: function that is called with 1 / n after each of the n rows of tiles.

        Returns:
            The dict of arrays [H, W, ...] that pixel_fn computes. If the network has an
            SE branch, the dict also contains 'presence' f32[C], the maximum over tiles.
        """
        stride, num_classes = self._probed(variables)
        rows, columns = self._sides(image.shape[0], image.shape[1], stride)
        if self._network.input_scale != 1:
            image = canvas.resize(image, rows.scaled, columns.scaled)
        convention = self._network.align_corners, self._network.mask_padding
        row_at, column_at = (x.positions(*convention) for x in (rows, columns))
        found: dict[str, np.ndarray] = {}
        presence: list[np.ndarray] = []
        first_pixel, ready, first_row = 0, None, 0
        bands = self._bands(variables, image, rows, columns, num_classes, presence)
        for number, logits in enumerate(bands):
            ready = logits if ready is None else np.concatenate([ready, logits])
            end = first_row + len(ready)
            whole = number == len(rows.starts) - 1
            last_pixel = rows.native if whole else int(np.searchsorted(row_at, end - 1))
            at = row_at[first_pixel:last_pixel] - first_row
            for part, place in self._blocks(ready, at, column_at):
                _lay(found, part, first_pixel, place, (rows.native, columns.native))
            first_pixel = last_pixel
            # The next pixels lie between the last row of this band and the next band.
            ready, first_row = ready[-1:], end - 1
            done(1 / len(rows.starts))
        return found | ({"presence": np.max(presence, axis=0)} if presence else {})

    def _probed(self, variables: dict) -> tuple[int, int]:
        """Returns (output stride of the logits, number of classes)."""
        probe = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        outputs = jax.eval_shape(self._network.apply_fn, variables, probe)
        _, height, _, num_classes = outputs.logits.shape
        return 64 // height, num_classes

    def _sides(self, height: int, width: int, stride: int) -> tuple[Side, Side]:
        scaled = pictures.scaled_size(height, width, self._network.input_scale)
        return (
            plan_side(height, scaled[0], stride, self._bucket),
            plan_side(width, scaled[1], stride, self._bucket),
        )

    def _bands(
        self,
        variables: dict,
        image: np.ndarray,
        rows: Side,
        columns: Side,
        num_classes: int,
        presence: list[np.ndarray],
    ) -> Iterator[np.ndarray]:
        """Yields the image's blended logits from top to bottom, as f32[rows, w, C].

        If the network has an SE branch, each tile's class probabilities f32[C] are
        appended to `presence`.
        """
        height = len(rows.weights(0))
        total = np.zeros((height, columns.logits, num_classes), np.float32)
        for number, top in enumerate(rows.starts):
            weights = rows.weights(number)[:, None, None]
            band = image[top : top + rows.tile]
            for left, logits in self._row_of_tiles(
                variables, band, rows, columns, presence
            ):
                total[:, left : left + logits.shape[1]] += weights * logits
            following = rows.starts[number + 1 : number + 2]
            if not following:
                yield total
                return
            finished = (following[0] - top) // rows.stride
            yield total[:finished].copy()
            total[:-finished], total[-finished:] = total[finished:].copy(), 0

    def _row_of_tiles(
        self,
        variables: dict,
        band: np.ndarray,
        rows: Side,
        columns: Side,
        presence: list[np.ndarray],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Runs the network on one row of tiles.

        Args:
            variables: the network's variables, on the devices.
            band: uint8[rows, W, 3], the rows of the image that the tiles cover.
            rows, columns: the tiles along the height and the width.
            presence: list to which the SE branch's class probabilities f32[C] of each
                tile are appended.

        Yields:
            (index of the tile's first column of logits, logits f32[h, w, C]) for each
            tile. The logits are multiplied by the blending weights along the width.
        """
        count = len(self._devices)
        for first in range(0, len(columns.starts), count):
            starts = columns.starts[first : first + count]
            tiles = [band[:, left : left + columns.tile] for left in starts]
            placed = [
                canvas.Canvas(
                    canvas.pad(tile, rows.tile, columns.tile, 0)[None],
                    rows=np.zeros(0),
                    columns=np.zeros(0),
                    size=np.asarray([tile.shape[:2]], np.int32),
                )
                for tile in tiles
            ]
            batch = parallel.spread(grouping.stack(placed, count), self._devices)
            logits, present = self._forward(variables, batch)
            for number, left in enumerate(starts):
                if present is not None:
                    presence.append(np.asarray(present[number, 0]))
                weights = columns.weights(first + number)[:, None]
                own = np.asarray(logits[number, 0], np.float32)
                yield left // columns.stride, own * weights

    def _blocks(
        self, logits: np.ndarray, row_at: np.ndarray, column_at: np.ndarray
    ) -> Iterator[tuple[dict, tuple[int, int]]]:
        """Upsamples logits and labels the pixels, one block of pixels at a time.

        Args:
            logits: f32[h, w, C], blended logits of some rows.
            row_at: f64[H], the position of each row of pixels among the rows of
                `logits`.
            column_at: f64[W], the position of each column of pixels among the columns
                of `logits`.

        Yields:
            (dict of the block's results, (row, column) of the block's first pixel).
        """
        sizes = [_window(at) for at in (row_at, column_at)]
        for top in range(0, len(row_at), BLOCK_PX):
            row_taps = _taps(row_at[top : top + BLOCK_PX], logits.shape[0], sizes[0])
            for left in range(0, len(column_at), BLOCK_PX):
                here = column_at[left : left + BLOCK_PX]
                column_taps = _taps(here, logits.shape[1], sizes[1])
                window = logits[row_taps.window, column_taps.window]
                short = [
                    (0, s - n) for s, n in zip(sizes, window.shape[:2], strict=True)
                ]
                window = np.pad(window, [*short, (0, 0)])
                part = self._described(window, row_taps.matrix, column_taps.matrix)
                inside = slice(row_taps.pixels), slice(column_taps.pixels)
                yield {k: np.asarray(x)[inside] for k, x in part.items()}, (top, left)


class _Taps(NamedTuple):
    """The weights that interpolate a block of pixels from logits, along one axis.

    Attributes:
        window: slice of the rows (or columns) of logits that the block needs.
        matrix: f32[BLOCK_PX, number of logits in the slice], the weights.
        pixels: height (or width) of the block. The remaining rows of `matrix` are 0.
    """

    window: slice
    matrix: np.ndarray
    pixels: int


def _window(at: np.ndarray) -> int:
    """Returns an upper bound on the rows of logits that a block of pixels needs."""
    spacing = (at[-1] - at[0]) / max(len(at) - 1, 1)
    # Rounded up to a multiple of 8, so that nearly all images use the same program.
    return canvas.round_up(math.ceil(spacing * BLOCK_PX) + 2, 8)


def _taps(at: np.ndarray, num_logits: int, size: int) -> _Taps:
    low, high, share = neighbours(at, num_logits)
    first, share = int(low[0]), share.astype(np.float32)
    matrix = np.zeros((BLOCK_PX, size), np.float32)
    pixels = np.arange(len(at))
    matrix[pixels, low - first] = 1 - share
    matrix[pixels, high - first] += share
    return _Taps(slice(first, first + size), matrix, len(at))


def _lay(found, part, first_pixel: int, place, size: tuple[int, int]) -> None:
    """Copies a block's results into the image's arrays; creates missing arrays."""
    top, left = first_pixel + place[0], place[1]
    for name, block in part.items():
        if name not in found:
            found[name] = np.zeros((*size, *block.shape[2:]), block.dtype)
        height, width = block.shape[:2]
        found[name][top : top + height, left : left + width] = block
