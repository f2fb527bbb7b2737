"""The tf.data pipeline: records are decoded, augmented and batched in parallel."""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from encnet_jax.data.augment import AugmentParams, draw
from encnet_jax.data.catalogue import UNKNOWN_ID
from encnet_jax.data.dataset import Dataset
from encnet_jax.data.records import Record, decode_record, is_cmyk, looks_whole
from encnet_jax.data.tensorflow_import import tensorflow
from encnet_jax.data.transforms import augment_example
from encnet_jax.data.unreadable import Unreadable
from encnet_jax.errors import UserError

_BATCHES_AHEAD = 2


class TfDataDataset(Dataset):
    """Reads a RecordSource through tf.data."""

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
        _, first = indices(start_step)  # A batch size that does not fit fails here.
        failures: list[UserError] = []

        def records(first_step: int) -> Iterator[tuple[bytes, bytes, np.ndarray]]:
            for step in itertools.count(first_step):
                epoch, examples = indices(step)
                for index in map(int, examples):
                    try:
                        record = unreadable.read(index, partial(self._record, split))
                    except UserError as error:
                        failures.append(error)
                        return  # TensorFlow would log what is raised here at length.
                    params = draw(
                        self.data.augment, seed=seed, epoch=epoch, index=index
                    )
                    yield record.image, record.mask, np.array(params)

        def batches(first_step: int) -> Iterator[dict]:
            dataset = self._tf_dataset(partial(records, first_step), len(first))
            return dataset.as_numpy_iterator()

        def find_unreadable(step: int) -> bool:
            """Decodes a batch again, to name what is broken; tells if any is."""
            found = False
            for index in map(unreadable.substitute, map(int, indices(step)[1])):
                try:
                    self.source.example(split, index)
                except UserError as error:
                    unreadable.add(index, error)
                    found = True
            return found

        return _without_unreadable(batches, find_unreadable, failures, start_step)

    def _record(self, split: str, index: int) -> Record:
        """Returns an example as stored; what looks cut off is decoded, to be sure.

        TensorFlow fails on it too, but not without lines of its own in the terminal.
        """
        record = self.source.record(split, index)
        whole = looks_whole(record.image) and looks_whole(record.mask)
        if not whole or is_cmyk(record.image):
            decode_record(record, self.info)
        return record

    def _tf_dataset(self, records, batch_size: int):
        tf = tensorflow()
        id_map = tf.constant(self.info.id_map)

        def example(image_bytes, mask_bytes, params) -> dict:
            image, label = decode(image_bytes, mask_bytes, id_map)
            image, label = augment_example(image, label, params, self.data)
            return {"image": image, "label": label}

        options = tf.data.Options()
        options.threading.max_intra_op_parallelism = 1  # Images are the parallel unit.
        encoded = tf.TensorSpec((), tf.string)
        params_spec = tf.TensorSpec((len(AugmentParams._fields),), tf.float64)
        return (
            tf.data.Dataset.from_generator(
                records,
                output_signature=(encoded, encoded, params_spec),
            )
            .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(batch_size, drop_remainder=True)
            .prefetch(_BATCHES_AHEAD)
            .with_options(options)
        )


def _without_unreadable(
    batches, find_unreadable, failures: list[UserError], start_step: int
) -> Iterator[dict]:
    """Yields batches; after a failed one, starts anew at its step.

    Args:
        batches: step -> iterator of the batches from there on; ends early where
            reading failed for good.
        find_unreadable: step -> whether examples of it were found broken.
        failures: why reading failed for good.
        start_step: The first step.
    """
    iterator = batches(start_step)
    for step in itertools.count(start_step):
        while True:
            try:
                batch = next(iterator)
                break
            except StopIteration:
                raise failures[0] from None
            except tensorflow().errors.OpError:
                if not find_unreadable(step):
                    raise
                iterator = batches(step)
        yield batch


def decode(image_bytes, mask_bytes, id_map):
    """Decodes a record inside a tf.data graph.

    Args:
        image_bytes: An encoded JPEG or PNG.
        mask_bytes: An encoded PNG of mode 'L'.
        id_map: u8[256], raw value -> train id.

    Returns:
        u8[H, W, 3] as Pillow decodes it, and train ids u8[H, W, 1]. Execution fails
        where the sizes differ or a raw value is unknown.
    """
    tf = tensorflow()
    image = tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(
            image_bytes, channels=3, dct_method="INTEGER_ACCURATE"
        ),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )
    image = tf.ensure_shape(image, [None, None, 3])
    mask = tf.io.decode_png(mask_bytes, channels=1)
    label = tf.gather(id_map, tf.cast(mask, tf.int32))
    checks = [
        tf.debugging.Assert(tf.reduce_all(label != UNKNOWN_ID), ["unknown id"]),
        tf.debugging.assert_equal(tf.shape(image)[:2], tf.shape(label)[:2]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(image), tf.identity(label)
