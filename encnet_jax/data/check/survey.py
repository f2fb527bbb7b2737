"""Reads a split of a data set, and counts image sizes, classes and problems."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from encnet_jax.data.pipelines.dataset import Source
from encnet_jax.data.pipelines.prefetch import map_ahead
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL

_EXAMPLES_AHEAD = 16


@dataclasses.dataclass
class SplitReport:
    """Counts and problems found by reading the examples of a split.

    Attributes:
        pairs: number of examples, including those that cannot be read.
        length: length of the arrays `pixels`, `images` and `pixels_beside`: the number
            of classes, but at least 256.
        sizes: {(width, height): number of images of this size}.
        pixels: i64[length], number of pixels of each train id.
        images: i64[length], number of images that contain each train id.
        pixels_beside: i64[length]; element c is the number of labelled pixels, of any
            class, in the images that contain train id c.
        turned: number of images whose EXIF orientation is not 1 (upright).
        problems: one line per problem; the line for a broken example names the file.
    """

    pairs: int
    length: int = 256
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.pixels = np.zeros(self.length, int)
        self.images = np.zeros(self.length, int)
        self.pixels_beside = np.zeros(self.length, int)
        self.turned = 0


def check_split(
    source: Source,
    split: str,
    share: Sequence[int] | None = None,
    num_classes: int = 0,
) -> SplitReport:
    """Decodes the examples of a split, and counts image sizes, train ids and problems.

    Args:
        source: source of the examples.
        split: name of a split of the source.
        share: indices of the examples to read; None for all.
        num_classes: number of classes; required only if there are more than 256.
    """

    def read(index: int):
        try:
            return source.example(split, index)
        except UserError as error:
            return error

    share = range(source.sizes()[split]) if share is None else share
    length = max(256, num_classes)
    report = SplitReport(len(share), length)
    examples = map_ahead(read, share, ahead=_EXAMPLES_AHEAD)
    for example in tqdm(examples, split, report.pairs, leave=False, disable=None):
        if isinstance(example, UserError):
            report.problems.append(str(example))
            continue
        counts = np.bincount(example.label.ravel(), minlength=length)
        report.sizes[example.image.shape[1::-1]] += 1
        report.pixels += counts
        report.images += counts > 0
        report.turned += example.orientation != 1
        report.pixels_beside += (counts > 0) * counts[:IGNORE_LABEL].sum()
    return report
