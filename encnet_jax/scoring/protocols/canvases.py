"""Chooses a few padded sizes, called canvases, for images of many sizes.

A program is compiled for each canvas. If the network ignores padding, the padding does
not change the scores, and images of several sizes can be padded to the same size. The
`room` of a canvas is the (height, width), before resizing, of the largest image that
fits.
"""

import itertools
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

Size = tuple[int, int]  # Height and width in pixels.

MOST = 4  # Largest number of shared canvases.
_LARGEST = 1.5  # Largest area of a shared canvas, relative to the largest image.
# Number of starts of the search; largest number of distinct heights or widths.
_STARTS, _SIDES = 16, 48
_UNUSABLE = 1e15  # Cost of a canvas that is too small for an image.
# Python waits for the compilation in progress before it exits.
_BACKGROUND = ThreadPoolExecutor(1)


def choose(sizes: Iterable[Size], bucket: int, most: int = MOST) -> list[Size]:
    """Chooses a few padded sizes for many images, with little padding.

    Each image is padded to the smallest chosen size into which the image fits. The
    sizes are found by a local search from several starting points.

    Args:
        sizes: (height, width) of the images in pixels.
        bucket: padded heights and widths are multiples of this number of pixels.
        most: maximum number of padded sizes. Some images may fit into none of the
            sizes.

    Returns:
        One (height, width) for each chosen size: not the padded size, but the largest
        height and the largest width of the images that are padded to it.
    """
    images = np.array(list(sizes)).reshape(-1, 2)
    if not len(images):
        return []
    while max(len(np.unique(side)) for side in (-(-images // bucket)).T) > _SIDES:
        bucket *= 2
    padded, place_of, weights = np.unique(
        -(-images // bucket) * bucket, axis=0, return_inverse=True, return_counts=True
    )
    rooms = np.array(list(itertools.product(*map(np.unique, padded.T))))
    pixels = rooms.prod(-1, dtype=float)
    usable = (rooms[None] >= padded[:, None]).all(-1)
    usable &= pixels <= _LARGEST * padded.prod(-1, dtype=float).max()
    cost = np.where(usable, pixels, _UNUSABLE)

    def best_beside(others: list[int]) -> tuple[float, int]:
        so_far = cost[:, others].min(1, initial=np.inf)
        totals = weights @ np.minimum(cost, so_far[:, None])
        return float(totals.min()), int(totals.argmin())

    found: tuple[float, list[int]] = (np.inf, [])
    for start in np.unique(np.linspace(0, len(rooms) - 1, _STARTS).astype(int)):
        chosen, total, unchanged = [int(start)], np.inf, 0
        for place in itertools.cycle([*range(1, most), 0]):
            less, room = best_beside(chosen[:place] + chosen[place + 1 :])
            unchanged += 1
            if less < total:
                chosen[place : place + 1], total, unchanged = [room], less, 0
            if unchanged == most:
                break
        found = min(found, (total, chosen))
    own = cost[:, found[1]]
    nearest = np.where(own.min(1) < _UNUSABLE, own.argmin(1), -1)[place_of.ravel()]
    members = [images[nearest == place] for place in range(len(found[1]))]
    return [(int(h), int(w)) for h, w in (m.max(0) for m in members if len(m))]


class Canvases:
    """The sizes to which the images of a data set or folder are padded.

    Attributes:
        bucket: padded heights and widths are multiples of this number of pixels.
        rooms: for each size that several images can share, (height, width) of the
            largest image that fits. Other images are padded to multiples of `bucket`.
    """

    def __init__(self, bucket: int, sizes: Iterable[Size] = ()):
        """Chooses the padded sizes.

        Args:
            bucket: see the class.
            sizes: (height, width) of the images; if empty, images are only padded to
                multiples of `bucket`.
        """
        self.bucket, self.rooms = bucket, choose(sizes, bucket)

    def room(self, height: int, width: int) -> Size:
        """Returns the smallest (height, width) in `rooms` into which an image fits.

        If there is none, returns the size of the image.

        Args:
            height, width: size of the image in pixels.
        """
        fitting = [(h * w, h, w) for h, w in self.rooms if h >= height and w >= width]
        return min(fitting)[1:] if fitting else (height, width)


def blank(room: Sequence[Any]) -> dict[str, np.ndarray]:
    """Returns an example with a black image and a label map of class 0.

    Args:
        room: (height, width, ...) in pixels; further elements are ignored.
    """
    height, width = room[:2]
    image = np.zeros((height, width, 3), np.uint8)
    return {"image": image, "label": image[..., 0]}


class AheadOfTime:
    """Wraps a function that is compiled for each of several padded image sizes.

    While the devices process images of one size, the function is compiled for the next
    size in a background thread, so that later calls find the program in JAX's
    compilation cache. With several processes, nothing is compiled ahead of time.
    """

    def __init__(
        self,
        fn: Any,
        canvases: Sequence[Hashable],
        blank: Callable[[Any], tuple],
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            fn: return value of parallel.mapped, a function (variables, *inputs) ->
                results.
            canvases: the keys of the expected calls; see __call__.
            blank: function that returns the inputs of `fn` for black images, given a
                key.
        """
        self._fn, self._canvases, self._blank = fn, list(canvases), blank
        self._started: dict[Hashable, Future | None] = {}

    def __call__(self, key: Hashable, variables: dict, *inputs):
        """Returns fn(variables, *inputs).

        Args:
            key: (height, width, scale), which determines the padded size of the images.
                If the key is not in `canvases`, the program is not compiled ahead of
                time.
            variables, inputs: arguments of `fn`.
        """
        if key in self._canvases and key not in self._started:
            self._announce(key)
            self._started[key] = None  # The call below compiles it.
        if (compiling := self._started.get(key)) is not None:
            wait([compiling])  # If compilation failed, the call below fails too.
            self._started[key] = None
        results = self._fn(variables, *inputs)
        # After the call, so that the devices are busy during compilation.
        self._compile_next(variables)
        return results

    def _compile_next(self, variables: dict) -> None:
        left = (key for key in self._canvases if key not in self._started)
        key = next(left, None)
        if key is None or jax.process_count() > 1:
            return
        if any(each is not None and not each.done() for each in self._started.values()):
            return  # Otherwise the next call could wait for several compilations.
        self._announce(key)
        # Traced in this thread, as in a call; only the compiler runs in the other one.
        lowered = self._fn.lower(variables, *self._blank(key))
        self._started[key] = _BACKGROUND.submit(lowered.compile)

    def _announce(self, key: Any) -> None:
        if jax.process_index() != 0:
            return
        height, width, scale = key
        tqdm.write(
            f"compiling for images up to {width}x{height}"
            + (f" at scale {scale:g}" if scale != 1 else "")
            + f" ({len(self._started) + 1} of {len(self._canvases)})",
            file=sys.stderr,
        )
