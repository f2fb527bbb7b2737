"""The data sets without TensorFlow: .npz arrays, generated scenes, files in folders."""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
from etils import epath

from encnet_jax.data import scenes
from encnet_jax.data.augment import draw
from encnet_jax.data.catalogue import DatasetInfo
from encnet_jax.data.dataset import Dataset
from encnet_jax.data.pillow_transforms import augment_example
from encnet_jax.data.prefetch import map_ahead
from encnet_jax.data.records import Example
from encnet_jax.data.unreadable import Unreadable
from encnet_jax.errors import UserError

_EXAMPLES_AHEAD = 32


class NpzSource:
    """Splits held in memory, read from the .npz shards of a folder.

    A shard has arrays `{split}_images` u8[N, H, W, 3] and `{split}_labels` u8[N, H, W]
    of train ids, for one split or more; shards follow each other in order of file name.
    """

    def __init__(self, info: DatasetInfo, data_dir: str):
        """Reads the shards of data_dir/NAME.

        Raises:
            UserError: there are none, or one has other arrays or ids out of range.
        """
        folder = epath.Path(data_dir).expanduser() / info.name
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise UserError(
                f"{info.name} is not there as arrays: found no {folder}/*.npz; on a "
                "machine with TensorFlow prepare it, then run python -m "
                f"encnet_jax.data.export_arrays {info.name} --data_dir {data_dir}"
            )
        self._shards: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for file in files:
            with file.open("rb") as opened, np.load(opened) as arrays:
                for split in info.splits:
                    if f"{split}_images" in arrays:
                        pair = arrays[f"{split}_images"], arrays[f"{split}_labels"]
                        _check_shard(*pair, info=info, file=f"{file}, {split}")
                        self._shards.setdefault(split, []).append(pair)
        self._places = {
            split: [(s, i) for s, pair in enumerate(pairs) for i in range(len(pair[0]))]
            for split, pairs in self._shards.items()
        }

    def sizes(self) -> dict[str, int]:
        """Returns the number of examples of each split that is there."""
        return {split: len(places) for split, places in self._places.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an example; its id is split and index."""
        shard, position = self._places[split][index]
        images, labels = self._shards[split][shard]
        return Example(f"{split}_{index:05d}", images[position], labels[position])


def _check_shard(images, labels, *, info: DatasetInfo, file: str) -> None:
    fits = images.dtype == labels.dtype == np.uint8 and images.shape[3:] == (3,)
    if not fits or images.shape[:3] != labels.shape:
        raise UserError(
            f"{file}: found images {images.dtype}{list(images.shape)} and labels "
            f"{labels.dtype}{list(labels.shape)}; wanted uint8 [N, H, W, 3] and "
            "uint8 [N, H, W]"
        )
    identity = np.arange(256) < info.num_classes
    identity[255] = True
    values = np.unique(labels)
    if not identity[values].all():
        raise UserError(
            f"{file}: labels have the value {values[~identity[values]][0]}, out of "
            f"range; wanted train ids 0..{info.num_classes - 1} and 255"
        )


class ScenesSource:
    """The generated scenes, drawn anew whenever they are asked for."""

    def sizes(self) -> dict[str, int]:
        """Returns the number of examples of each split."""
        return dict(scenes.NUM_IMAGES)

    def example(self, split: str, index: int) -> Example:
        """Returns a generated example."""
        return Example(f"{split}_{index:04d}", *scenes.generate(split, index))


class ArraysDataset(Dataset):
    """Reads any source with NumPy and Pillow alone."""

    def train_batches(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]:
        """See Dataset.train_batches."""
        indices = self.batch_order(
            split,
            batch_size,
            seed=seed,
            process_index=process_index,
            process_count=process_count,
        )
        unreadable = Unreadable(
            self.num_labelled(split), self.data.max_unreadable_share
        )

        def augmented(place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            epoch, index = place
            example = unreadable.read(index, partial(self.source.example, split))
            return self._augmented(example, seed=seed, epoch=epoch, index=index)

        def places() -> Iterator[tuple[int, int]]:
            for step in itertools.count(start_step):
                epoch, examples = indices(step)
                yield from ((epoch, int(index)) for index in examples)

        # A batch size that does not fit fails here, not at the first batch.
        share = len(indices(start_step)[1])
        examples = map_ahead(augmented, places(), ahead=_EXAMPLES_AHEAD + share)

        def batches() -> Iterator[dict[str, np.ndarray]]:
            while True:
                images, labels = zip(*itertools.islice(examples, share), strict=True)
                yield {"image": np.stack(images), "label": np.stack(labels)}

        return batches()

    def _augmented(self, example: Example, **drawn_by: int) -> tuple:
        """Returns what a batch holds of an example: image and label.

        Args:
            example: as the source gives it.
            drawn_by: seed, epoch and index.
        """
        params = draw(self.data.augment, **drawn_by)
        return augment_example(example.image, example.label, params, self.data)
