"""The generated scenes as a TFDS data set."""

from collections.abc import Iterator

from tqdm import tqdm

from encnet_jax.data import scenes
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.tensorflow_import import tensorflow_datasets

tfds = tensorflow_datasets()


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Writes every split of encnet_jax.data.scenes."""

    name = "scenes"
    VERSION = tfds.core.Version("1.1.0")  # Raise it whenever the pictures change.

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Patches whose label depends on cues elsewhere in the picture.",
            homepage="https://arxiv.org/abs/1803.08904",
        )

    def _split_generators(self, dl_manager) -> dict:
        return {split: self._generate_examples(split) for split in scenes.NUM_IMAGES}

    def _generate_examples(self, split) -> Iterator[tuple[int, dict]]:
        indices = range(scenes.NUM_IMAGES[split])
        for index in tqdm(indices, f"scenes {split}", unit="image", disable=None):
            image, label = scenes.generate(split, index)
            name = f"{split}_{index:04d}"
            yield index, {"image": image, "mask": label[..., None], "id": name}
