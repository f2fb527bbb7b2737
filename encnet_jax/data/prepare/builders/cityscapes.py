"""Cityscapes in the folders of leftImg8bit_trainvaltest.zip and gtFine_trainvaltest."""

from collections.abc import Iterator

from encnet_jax.data.info import STORED_VERSION
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.prepare.builders.examples import (
    examples,
    file_tree,
    pairs,
    unlabelled,
)
from encnet_jax.data.sets.catalogue import named_info
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets

tfds = tensorflow_datasets()


class Cityscapes(tfds.core.GeneratorBasedBuilder):
    """Writes the splits that are there, with label ids; test images have no masks."""

    name = "cityscapes"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("cityscapes").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Street scenes of 50 cities; 19 of its 34 labels are classes.",
            homepage=named_info("cityscapes").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        tree, info = file_tree(self, dl_manager), named_info(self.name)
        splits = {}
        for split in info.splits:
            images = tree.files(f"leftImg8bit/{split}/*", "_leftImg8bit.png")
            masks = tree.files(f"gtFine/{split}/*", "_gtFine_labelIds.png")
            if images and split in info.unlabelled:
                splits[split] = unlabelled(info, images)
            elif images and not masks:
                raise tree.missing(f"gtFine/{split}/CITY beside leftImg8bit/{split}")
            elif images:
                splits[split] = pairs(images, masks)
        if not splits:
            raise tree.missing("leftImg8bit/train/CITY and gtFine/train/CITY")
        return {s: self._generate_examples(s, e) for s, e in splits.items()}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)
