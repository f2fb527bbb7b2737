"""Makes training batches with tf.data; decodes and augments examples in parallel."""

import itertools
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from encnet_jax.data.augment.apply import augment_example
from encnet_jax.data.augment.plan import AugmentParams, draw
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.pipelines.order import BatchOrder
from encnet_jax.data.pipelines.unreadable import Unreadable
from encnet_jax.data.sources import records
from encnet_jax.data.sources.decode import image_rules
from encnet_jax.data.sources.info import UNKNOWN_ID
from encnet_jax.data.sources.prepared import RecordSource
from encnet_jax.data.sources.tensorflow_import import decode_image, tensorflow
from encnet_jax.errors import UserError

_BATCHES_AHEAD = 2


class TensorFlowDataset(Dataset):
    """Makes training batches with tf.data from a source of encoded examples."""

    source: RecordSource

    def _batches(
        self, split: str, order: BatchOrder, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        read = _Records(self, split, order)
        iterator = None
        try:
            for step in itertools.count(start_step):
                while True:
                    iterator = iterator or self._iterator(read, step)
                    try:
                        batch = next(iterator)
                        break
                    except StopIteration:
                        assert read.failure is not None  # Records end only on errors.
                        raise read.failure from None
                    except tensorflow().errors.OpError:
                        iterator = None
                        if not read.decode_here(step):
                            raise
                yield batch
        finally:
            # tf.data's threads call Python; without this they would block forever
            # when the interpreter exits.
            read.closed.set()
            del iterator

    def _iterator(self, read: "_Records", step: int):
        tf = tensorflow()
        id_map = self.info.id_map

        def example(image_bytes, mask_bytes, params) -> dict:
            image, label = decode(image_bytes, mask_bytes, id_map)
            image, label = augmented(image, label, params, self.data)
            return {"image": image, "label": label}

        options = tf.data.Options()
        # Several images are processed in parallel instead.
        options.threading.max_intra_op_parallelism = 1
        encoded = tf.TensorSpec((), tf.string)
        params_spec = tf.TensorSpec((len(AugmentParams._fields),), tf.float64)
        return (
            tf.data.Dataset.from_generator(
                partial(read.generate, step),
                output_signature=(encoded, encoded, params_spec),
            )
            .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(read.order.share, drop_remainder=True)
            .prefetch(_BATCHES_AHEAD)
            .with_options(options)
            .as_numpy_iterator()
        )


class _Records:
    """Yields the encoded examples of a training run, and replaces unreadable examples.

    Attributes:
        order: Selects the examples of each step.
        failure: the error that stopped the reading, or None.
        closed: threading.Event that the caller sets to stop the reading.
    """

    def __init__(self, dataset: "TensorFlowDataset", split: str, order: BatchOrder):
        self.order = order
        self.failure: UserError | None = None
        self.closed = threading.Event()
        self._dataset, self._split = dataset, split
        self._rules = image_rules(dataset.data)
        self._unreadable = Unreadable(
            order.num_examples, dataset.data.max_unreadable_share
        )
        self._decoded_here: set[int] = set()

    def generate(self, first_step: int) -> Iterator[tuple[bytes, bytes, np.ndarray]]:
        """Yields the encoded examples of all training steps from `first_step` on.

        The iterator ends only if `closed` is set or reading fails.

        Yields:
            (encoded image, encoded mask, the n fields of AugmentParams as f64[n]).
        """
        augment, seed = self._dataset.data.augment, self.order.seed
        for step in itertools.count(first_step):
            epoch, examples = self.order.indices(step)
            for index in map(int, examples):
                if self.closed.is_set():
                    return
                try:
                    record = self._unreadable.read(index, self._record)
                except UserError as error:
                    self.failure = error
                    return  # Raising here would make TensorFlow log a traceback.
                params = draw(augment, seed=seed, epoch=epoch, index=index)
                yield record.image, record.mask, np.array(params)

    def _record(self, index: int) -> records.Record:
        record = self._dataset.source.record(self._split, index)
        if index in self._decoded_here:
            return records.as_png(record, self._rules)
        return records.for_tensorflow(record, self._rules)

    def decode_here(self, step: int) -> bool:
        """Handles examples that TensorFlow cannot decode; returns whether to retry.

        If Pillow cannot decode an example either, the example is counted as broken, and
        the retry replaces the example. If Pillow can decode all examples of the step,
        the retry converts the examples to PNG with Pillow. If the examples
        were already converted, False is returned.

        Args:
            step: the training step whose batch cannot be decoded.

        Raises:
            UserError: too many examples are broken; see Unreadable.add.
        """
        indices = list(map(int, self.order.indices(step)[1]))
        found = False
        for index in map(self._unreadable.substitute, indices):
            try:
                self._dataset.source.example(self._split, index)
            except UserError as error:
                self._unreadable.add(index, error)
                found = True
        if not found:
            found = not self._decoded_here.issuperset(indices)
            self._decoded_here.update(map(self._unreadable.substitute, indices))
            self._decoded_here.update(indices)
        return found


def augmented(image, label, params, data: Any):
    """Augments an example in a tf.data graph by calling augment_example.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W], train ids.
        params: f64[n], the values of the n fields of AugmentParams, in order.
        data: Section `data` of the configuration.

    Returns:
        The tensors of the image and the label that augment_example returns.
    """
    tf = tensorflow()

    def augment(image, label, params):
        return augment_example(image, label, AugmentParams(*params), data)

    image, label = tf.numpy_function(
        augment, [image, label, params], [tf.uint8, tf.uint8], stateful=False
    )
    size = data.crop_size
    return tf.ensure_shape(image, [size, size, 3]), tf.ensure_shape(label, [size, size])


def decode(image_bytes, mask_bytes, id_map):
    """Decodes an image and its mask inside a tf.data graph.

    Running the graph fails if image and mask differ in size, or if the mask has an
    unknown value.

    Args:
        image_bytes: a file that TensorFlow and Pillow decode equally; see
            decode.tensorflow_decodes.
        mask_bytes: a grey 8-bit PNG.
        id_map: uint8[256], maps mask values to train ids.

    Returns:
        A tuple of two tensors:
        image: uint8[H, W, 3].
        label: uint8[H, W], train ids.
    """
    tf = tensorflow()
    image = decode_image(image_bytes)
    mask = tf.io.decode_png(mask_bytes, channels=1)
    # Takes a sixth of the time of tf.gather, which requires 4-byte indices.
    label = tf.numpy_function(
        lambda mask: np.take(id_map, mask[..., 0]), [mask], tf.uint8, stateful=False
    )
    label = tf.ensure_shape(label, [None, None])
    checks = [
        tf.debugging.Assert(tf.reduce_all(label != UNKNOWN_ID), ["unknown id"]),
        tf.debugging.assert_equal(tf.shape(image)[:2], tf.shape(label)),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(image), tf.identity(label)
