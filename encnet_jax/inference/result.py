"""What a network says of one image."""

import dataclasses

import numpy as np

from encnet_jax import pictures


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """Labels of one image and how sure the network is of them.

    Attributes:
        image: uint8[H, W, 3], as the network saw it.
        labels: uint8[H, W], ids 0..C-1: places in class_names.
        confidence: f32[H, W] in [0, 1], the probability of each pixel's label.
        class_names: one for each class.
        colours: uint8[C, 3], one for each class.
    """

    image: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]
    colours: np.ndarray
    _scores: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """f32[H, W, C]: probabilities of all classes, which sum to 1.

        Raises:
            AttributeError: they were not asked for.
        """
        if self._scores is None:
            raise AttributeError("no scores were asked for: model(image, scores=True)")
        return self._scores

    def colour(self) -> np.ndarray:
        """Returns uint8[H, W, 3]: every pixel in its class's colour."""
        return pictures.colourise(self.labels, self.colours)

    def overlay(self) -> np.ndarray:
        """Returns uint8[H, W, 3]: the image, half covered by the classes' colours."""
        return pictures.overlay(self.image, self.labels, self.colours)
