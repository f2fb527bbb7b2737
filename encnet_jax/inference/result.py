"""The result of labelling one image."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from encnet_jax import pictures
from encnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Labels of one image and their probabilities.

    Attributes:
        image: uint8[H, W, 3], the input image.
        labels: uint8[H, W], class ids 0..C-1: indices into class_names.
        confidence: f32[H, W] in [0, 1], the probability of each pixel's label.
        class_names: names of the classes.
        colours: uint8[C, 3], RGB of each class.
        presence: f32[C] in [0, 1], the SE branch's probability that each class occurs
            in the image; None if the network has no SE branch. The values are
            the mean over scales and flips, and the maximum over crops or tiles.
    """

    image: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]
    colours: np.ndarray
    presence: np.ndarray | None = None
    _scores: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """f32[H, W, C]: the probabilities of all classes, which sum to 1 per pixel.

        Raises:
            AttributeError: scores were not requested.
        """
        if self._scores is None:
            raise AttributeError(
                "no scores were computed: call model(image, scores=True)"
            )
        return self._scores

    def colour(self) -> np.ndarray:
        """Returns uint8[H, W, 3] with every pixel in the colour of its class."""
        return pictures.colourise(self.labels, self.colours)

    def overlay(self, transparent: Sequence[str] = ()) -> np.ndarray:
        """Returns uint8[H, W, 3], the image blended with the colours of the classes.

        Args:
            transparent: names of classes whose pixels are not coloured.

        Raises:
            UserError: a name is not a class.
        """
        ids = ids_of(transparent, self.class_names)
        return pictures.overlay(self.image, self.labels, self.colours, ids)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        ids, counts = np.unique(self.labels, return_counts=True)
        largest = sorted(zip(-counts, ids, strict=True))[:3]
        shares = ", ".join(
            f"{self.class_names[i] if i < len(self.class_names) else 'unknown'}"
            f" {-100 * n / self.labels.size:.0f} %"
            for n, i in largest
        )
        return f"<Result {width}x{height}: {shares}>"


def ids_of(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Returns the ids of the classes with the given names.

    Raises:
        UserError: a name is not a class.
    """
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise UserError(
            f"there is no class {unknown[0]!r}; expected one of:"
            f" {', '.join(class_names)}"
        )
    return [class_names.index(name) for name in names]
