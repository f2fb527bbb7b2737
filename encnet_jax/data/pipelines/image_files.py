"""Makes batches for image classification from image files with one label each.

Training uses random crops; evaluation uses centre crops.
"""

from collections.abc import Iterator
from typing import Any

from encnet_jax.data.augment.apply import change_colours
from encnet_jax.data.augment.boxes import centre_box, cut, draw_box
from encnet_jax.data.augment.plan import draw
from encnet_jax.data.pipelines.dataset import Source
from encnet_jax.data.pipelines.pillow import PillowDataset
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError


class ImageFiles(PillowDataset):
    """Makes batches for image classification; decodes and crops images with Pillow.

    A batch has images uint8[B, crop_size, crop_size, 3] and labels int32[B].
    """

    def __init__(self, info: DatasetInfo, source: Source, data: Any):
        """Opens the data set. The arguments are the attributes of Dataset.

        Raises:
            UserError: data.crop_size is larger than data.augment.base_size.
        """
        super().__init__(info, source, data)
        if data.crop_size > data.augment.base_size:
            raise UserError(
                f"data.augment.base_size is {data.augment.base_size}; expected at least"
                f" data.crop_size ({data.crop_size}), because evaluation resizes the"
                " shorter side of an image to base_size before the crop; change one of"
                " the two fields"
            )

    def _augmented(self, example: Example, **drawn_by: int) -> tuple:
        """Returns a random crop of an example's image, and the label of the example.

        The crop is mirrored at random, and its colours are changed at random.

        Args:
            example: a decoded example of the source.
            drawn_by: seed, epoch and index; they determine the random numbers.
        """
        augment = self.data.augment
        height, width = example.image.shape[:2]
        box = draw_box(height, width, area_min=augment.area_min, **drawn_by)
        params = draw(augment, **drawn_by)
        image = cut(example.image, box, self.data.crop_size)
        image = change_colours(image[:, ::-1] if params.flip else image, params)
        return image, example.label

    def eval_examples(self, split: str, **share: int) -> Iterator[dict]:
        """Yields evaluation examples whose images are centre crops.

        The arguments are those of Dataset.eval_examples.
        """
        size, base_size = self.data.crop_size, self.data.augment.base_size
        for example in super().eval_examples(split, **share):
            height, width = example["image"].shape[:2]
            box = centre_box(height, width, base_size=base_size, crop_size=size)
            yield example | {"image": cut(example["image"], box, size)}
