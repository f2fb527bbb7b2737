"""Makes training batches with Pillow, without TensorFlow."""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from encnet_jax.data.augment.apply import augment_example
from encnet_jax.data.augment.plan import draw
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.pipelines.order import BatchOrder
from encnet_jax.data.pipelines.prefetch import map_ahead
from encnet_jax.data.pipelines.unreadable import Unreadable
from encnet_jax.data.sources.records import Example

_EXAMPLES_AHEAD = 32


class PillowDataset(Dataset):
    """Decodes and augments examples in threads, with Pillow instead of TensorFlow."""

    def _batches(
        self, split: str, order: BatchOrder, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        unreadable = Unreadable(order.num_examples, self.data.max_unreadable_share)

        def augmented(place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            epoch, index = place
            example = unreadable.read(index, partial(self.source.example, split))
            return self._augmented(example, seed=order.seed, epoch=epoch, index=index)

        def places() -> Iterator[tuple[int, int]]:
            for step in itertools.count(start_step):
                epoch, examples = order.indices(step)
                yield from ((epoch, int(index)) for index in examples)

        share = order.share
        examples = map_ahead(augmented, places(), ahead=_EXAMPLES_AHEAD + share)
        while True:
            images, labels = zip(*itertools.islice(examples, share), strict=True)
            yield {"image": np.stack(images), "label": np.stack(labels)}

    def _augmented(self, example: Example, **drawn_by: int) -> tuple:
        """Returns the augmented image and label of an example.

        Args:
            example: a decoded example of the source.
            drawn_by: seed, epoch and index; they determine the augmentation.
        """
        params = draw(self.data.augment, **drawn_by)
        return augment_example(example.image, example.label, params, self.data)
