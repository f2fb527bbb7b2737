"""ADE20K in the folders of ADEChallengeData2016.zip and release_test.zip."""

from collections.abc import Iterator

from encnet_jax.data.archives.file_tree import FileTree
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
from encnet_jax.errors import UserError

tfds = tensorflow_datasets()

_FOLDERS = {"train": "training", "val": "validation"}


class Ade20k(tfds.core.GeneratorBasedBuilder):
    """Writes the splits that are there; test images have no masks."""

    name = "ade20k"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("ade20k").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Indoor and outdoor scenes; 150 classes, raw id 0 unlabelled.",
            homepage="http://sceneparsing.csail.mit.edu",
        )

    def _split_generators(self, dl_manager) -> dict:
        tree, info = file_tree(self, dl_manager), named_info(self.name)
        splits = {}
        for split, folder in _FOLDERS.items():
            images = tree.files(f"images/{folder}", ".jpg")
            if images:
                masks = tree.files(f"annotations/{folder}", ".png")
                splits[split] = pairs(images, masks)
        if not splits:
            _refuse_full_release(tree)
        test = tree.files("testing", ".jpg")
        if test:
            splits["test"] = unlabelled(info, test)
        if not splits:
            raise tree.missing("images/training and annotations/training")
        return {s: self._generate_examples(s, e) for s, e in splits.items()}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)


def _refuse_full_release(tree: FileTree) -> None:
    """Raises UserError where the source is the release with some 3,000 classes.

    Source: CSAILVision/ADE20K, whose masks are RGB files ..._seg.png.
    """
    found = tree.ends("_seg.png")
    if found is not None:
        raise UserError(
            f"{found}: this is the full ADE20K release with some 3,000 classes; wanted "
            "the scene parsing benchmark with 150, ADEChallengeData2016.zip, which "
            "python -m encnet_jax.data.prepare ade20k downloads if --source is left out"
        )
