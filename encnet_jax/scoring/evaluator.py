"""Evaluates segmentation networks: sums one confusion matrix over all images."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from encnet_jax.config import EvalConfig
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.pods import distributed, parallel
from encnet_jax.pods.signals import StopRequest
from encnet_jax.scoring import calibration
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs
from encnet_jax.scoring.object_sizes import small_objects
from encnet_jax.scoring.protocols import canvas
from encnet_jax.scoring.protocols import protocol as protocol_lib
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.whole_images import class_ids, probabilities_of
from encnet_jax.scoring.seen import Batch, Watch, fetch


def measured(
    scores: jax.Array,
    weights: jax.Array,
    labels: jax.Array,
    level_class: int | None = None,
) -> dict[str, Any]:
    """Returns the predicted class and the calibration terms of each pixel.

    Args:
        scores: f32[..., C]; the class with the largest score is predicted.
        weights: f32[..., C], non-negative, proportional to the class probabilities.
        labels: uint8[...], ids 0..C-1 or IGNORE_LABEL.
        level_class: id of the class whose probability is also returned, or None.

    Returns:
        Dict with 'ids', uint8[...], the predicted class ids; 'terms', a
        calibration.PixelTerms; 'levels', uint8[...], the probability of level_class
        times 255, rounded (absent if level_class is None).
    """
    ids = class_ids(scores)
    found = {"ids": ids, "terms": calibration.pixel_terms(weights, labels)}
    if level_class is not None:
        probabilities = probabilities_of(weights)
        levels = jnp.round(255 * jnp.nan_to_num(probabilities[..., level_class]))
        found["levels"] = levels.astype(jnp.uint8)
    return found


def count_images(labels: jax.Array, ids: jax.Array, *, num_classes: int) -> jax.Array:
    """Counts the (label, prediction) pairs of each image.

    Args:
        labels, ids: uint8[B, H, W], true and predicted class ids. Pixels with
            IGNORE_LABEL in either array are not counted.
        num_classes: C.

    Returns:
        int32[B, C, C]; row = label, column = prediction.
    """
    # One image at a time: float32 counts are exact only up to 2**24, and a batch can
    # have more pixels.
    return jax.lax.map(
        lambda pair: count_pairs(pair[0].ravel(), pair[1].ravel(), num_classes),
        (labels, ids),
    )


def local_batch_size(batch_size: int, num_devices: int | None = None) -> int:
    """Returns the number of images that this process evaluates in each batch.

    The number is rounded down to a multiple of the number of devices, but is at least 1
    per device.

    Args:
        batch_size: number of images in a batch, over all processes.
        num_devices: number of devices that this process uses; None for all its devices.
    """
    devices = jax.local_device_count() if num_devices is None else num_devices
    share = batch_size // jax.process_count()
    return max(devices, share // devices * devices)


def image_sizes(dataset, split: str, max_images: int = 0) -> list[tuple[int, int]]:
    """Returns (height, width) of each image that this process evaluates.

    Args:
        dataset: the opened data set.
        split: name of the split.
        max_images: maximum number of images, over all processes; 0 for no limit.
    """
    share = dataset.eval_share(
        split,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        max_images=max_images,
    )
    return dataset.image_sizes(split, share)


def watched_examples(
    dataset, split: str, max_images: int, stop: StopRequest
) -> tuple[Iterator[dict], int]:
    """Returns an iterator over the examples that this process evaluates.

    The iterator raises Stopped once all processes have agreed to stop.

    Args:
        dataset, split, max_images: see Dataset.eval_examples.
        stop: the stop request, which is checked before each example.

    Returns:
        (iterator, total); `total` is the number of examples of all processes.
    """
    total = dataset.num_examples(split)
    total = min(total, max_images or total)
    examples = dataset.eval_examples(
        split,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        max_images=max_images,
    )
    largest_share = -(-total // jax.process_count())
    return stop.watch(examples, largest_share), total


# Format of the progress lines in log files.
_LOG_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {unit}s"
_LOG_EVERY_S = 30


class _Lines:
    """A file object that prints the output of tqdm as plain lines to standard error."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        """Writes `text` as a line; skips empty or repeated lines."""
        line = text.strip("\r\n ")
        if line not in ("", self._last):
            sys.stderr.write(f"{line}\n")
            self._last = line

    def flush(self) -> None:
        """Flushes standard error."""
        sys.stderr.flush()


def progress_bar(total: int | None) -> tqdm:
    """Returns the progress bar of an evaluation.

    Only process 0 shows a bar, which counts only the images of process 0. If standard
    error is not a terminal, plain lines are printed instead: at the start, every 30
    seconds and at the end.

    Args:
        total: number of images of all processes; None hides the bar.
    """
    share = None if total is None else total // jax.process_count()
    hidden = not share or jax.process_index() != 0 or sys.stderr is None
    lines: dict[str, Any] = {}
    if not hidden and not sys.stderr.isatty():
        lines = {"bar_format": _LOG_LINE, "mininterval": _LOG_EVERY_S}
        lines |= {"file": _Lines(), "position": 0}
    # leave=None keeps the finished bar on the screen unless it is nested in another.
    lines |= {"total": share, "disable": hidden, "leave": None}
    return tqdm(desc="evaluate", unit="image", **lines)


class Evaluator:
    """Computes the scores or the predictions of a network under an evaluation protocol.

    An Evaluator caches its compiled programs. Each process evaluates its own images on
    its own devices; only the final sums are exchanged between processes.

    Attributes:
        num_classes: C.
        devices: the devices of this process that the evaluator uses.
    """

    def __init__(
        self,
        forward: Forward,
        eval_config: EvalConfig,
        *,
        protocol: str | None = None,
        refine: str | None = None,
        devices: list | None = None,
        with_calibration: bool = False,
        level_class: int | None = None,
        sizes: Callable[[], Iterable[tuple[int, int]]] = tuple,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            eval_config: section `eval` of the resolved configuration.
            protocol, refine: used instead of eval_config.protocol and
                eval_config.refine, unless None.
            devices: devices of this process to use; None for all.
            with_calibration: whether to compute the fields `confidence` and `sums` of
                Seen.
            level_class: id of the class whose probability is the field `levels` of
                Seen, or None. Has an effect only if with_calibration is True.
            sizes: function that returns (height, width) of each image, from which a few
                padded sizes are chosen. Called only if the network ignores padding.
        """
        self._with_calibration = with_calibration
        self.num_classes = forward.num_classes
        self.devices = jax.local_devices() if devices is None else devices
        how: dict[str, Any] = {
            "protocol": protocol or eval_config.protocol,
            "batch_size": local_batch_size(eval_config.batch_size, len(self.devices)),
            "devices": self.devices,
            "canvases": Canvases(
                eval_config.bucket, sizes() if forward.mask_padding else ()
            ),
        }
        self._protocol = protocol_lib.make(
            forward, eval_config, refine=refine or eval_config.refine, **how
        )
        self._measuring = self._protocol
        if with_calibration:
            self._measuring = protocol_lib.make(
                forward,
                eval_config,
                refine=refine or eval_config.refine,
                pixel_fn=partial(measured, level_class=level_class),
                with_labels=True,
                **how,
            )
        self._scored_by = protocol_lib.of_name(
            how.pop("protocol"), forward, eval_config, **how
        )
        count = partial(count_images, num_classes=self.num_classes)
        self._count = parallel.mapped(count, devices=self.devices)
        self._row_sums = parallel.mapped(calibration.row_sums, devices=self.devices)

    def confusion(
        self,
        variables: dict,
        examples: Iterable[dict],
        total: int | None = None,
        watches: Sequence[Watch] = (),
    ) -> ConfusionMatrix:
        """Returns one confusion matrix over the images of all processes.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: the examples that this process evaluates, dicts with 'image'
                uint8[H, W, 3] and 'label' uint8[H, W].
            total: number of images of all processes, for the progress bar; None hides
                the bar.
            watches: functions that are called as watch(example, seen) for each example
                of this process; `seen` is a Seen with the results of the example.
        """
        viewed = self._viewed(examples)
        counts, labelled = self._sum(variables, viewed, ("label",), total, watches)
        return _matrix(counts[0], labelled)

    def confusion_by_size(
        self,
        variables: dict,
        examples: Iterable[dict],
        small_px: int,
        total: int | None = None,
        watches: Sequence[Watch] = (),
    ) -> tuple[ConfusionMatrix, ConfusionMatrix, ConfusionMatrix]:
        """Returns confusion matrices of all pixels, small objects and large objects.

        Args:
            variables, examples, total, watches: see confusion.
            small_px: objects with fewer pixels are small; see
                object_sizes.small_objects.
        """
        examples = (
            {**e, "small": small_objects(e["label"], small_px)}
            for e in self._viewed(examples)
        )
        keys = ("label", "small")
        counts, labelled = self._sum(variables, examples, keys, total, watches)
        small = ConfusionMatrix.from_counts(counts[1])
        large = ConfusionMatrix.from_counts(counts[0] - counts[1])
        return _matrix(counts[0], labelled), small, large

    def predict(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[dict, np.ndarray]]:
        """Yields the predicted class ids of each example.

        The order can differ from the order of `examples`, because images are batched by
        size.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' uint8[H, W, 3].

        Yields:
            (example, ids). The example contains only the part of the image that the
            protocol evaluates. `ids` is uint8[H, W]; IGNORE_LABEL marks pixels whose
            scores are not finite.
        """
        for example, ids, _ in native_results(
            self._protocol, variables, self._viewed(examples)
        ):
            yield example, ids

    def scores(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array, jax.Array | None]]:
        """Yields class scores without CRF refinement, one example per device at a time.

        Args:
            variables, examples: see confusion.

        Yields:
            (examples, scores, presence). `scores` is f32[devices, H, W, C],
            proportional to the class probabilities, at the original size of the images
            with padding. `presence` is f32[devices, C], the probability that each class
            occurs in the image, or None if the network has no SE branch.
        """
        return self._scored_by.scorer().scores(variables, self._viewed(examples))

    def _sum(self, variables, examples, keys, total, watches) -> tuple[np.ndarray, int]:
        """Returns confusion counts over the examples of all processes.

        Args:
            variables, examples, total, watches: see confusion.
            keys: keys of the label maps in each example. The predictions are compared
                with each of these maps.

        Returns:
            (counts, labelled). `counts` is int64[len(keys), C, C], one confusion matrix
            for each key. `labelled` is the number of pixels whose 'label' is not
            IGNORE_LABEL.
        """
        shape = (len(keys), self.num_classes, self.num_classes)
        counts, labelled = np.zeros(shape, np.int64), 0
        pending: list[Batch] = []
        with progress_bar(total) as bar:
            for members, found in self._measuring.describe(variables, examples):
                # The results of a batch are fetched after the next batch was started,
                # so that the devices are always busy.
                counts += fetch(pending, watches)
                pending = [self._counted(members, found, keys)]
                labelled += sum(
                    int(np.count_nonzero(member["label"] != IGNORE_LABEL))
                    for member in members
                )
                bar.update(len(members))
        counts = distributed.sum_over_processes(counts + fetch(pending, watches))
        return counts, int(distributed.sum_over_processes(np.array([labelled]))[0])

    def _counted(self, members: list[dict], found, keys: Sequence[str]) -> "Batch":
        """Starts counting the pixels of a batch on the devices, without waiting.

        Args:
            members: the examples of the batch.
            found: results of the batch, a whole_images.Described.
            keys: see _sum.
        """
        ids, confidence, sums, levels = found.pixels, None, None, None
        if self._with_calibration:
            terms, levels = ids["terms"], ids.get("levels")
            ids, confidence = ids["ids"], terms.confidence
            sums = self._row_sums(terms.nll, terms.brier)
        pairs = [self._count(self._labels(members, key, ids), ids) for key in keys]
        return Batch(members, ids, pairs, found.presence, confidence, sums, levels)

    def _viewed(self, examples: Iterable[dict]) -> Iterator[dict]:
        return map(self._protocol.view, examples)

    def _labels(self, members: list[dict], key: str, ids: jax.Array) -> jax.Array:
        """Copies label maps to the devices, padded with IGNORE_LABEL to [H, W].

        Args:
            members: the examples of the batch.
            key: key of the label map in each example.
            ids: uint8[devices, b, H, W].
        """
        count = ids.shape[0] * ids.shape[1]
        labels = canvas.lay_labels(members, count, (ids.shape[2], ids.shape[3]), key)
        return parallel.shard(labels, self.devices)


def _matrix(counts: np.ndarray, labelled: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix.from_counts(counts)
    matrix.not_finite = labelled - int(counts.sum())
    return matrix


def native_results(
    protocol, variables: dict, examples: Iterable[dict]
) -> Iterator[tuple[dict, Any, np.ndarray | None]]:
    """Yields the results of each example, without padding.

    The order can differ from the order of `examples`, because images are batched by
    size.

    Args:
        protocol: a Labeller; see protocols.protocol.make.
        variables: variables of the network, replicated on the devices.
        examples: dicts with 'image' uint8[H, W, 3], as returned by Protocol.view.

    Yields:
        (example, results, presence). `results` is a pytree of NumPy arrays [H, W, ...],
        such as class ids. `presence` is f32[C], the probability that each class occurs
        in the image, or None if the network has no SE branch.
    """
    for members, found in protocol.describe(variables, examples):
        results, presence = jax.tree.map(_on_host, found)
        for place, member in enumerate(members):
            height, width = member["image"].shape[:2]
            inside = np.s_[place, :height, :width]
            own = None if presence is None else presence[place]
            yield member, jax.tree.map(itemgetter(inside), results), own


def _on_host(values: jax.Array) -> np.ndarray:
    """Copies an array [devices, b, ...] to the host, reshaped to [devices * b, ...]."""
    return np.asarray(values).reshape(-1, *values.shape[2:])


def check_finite(ids: np.ndarray, name: str) -> None:
    """Checks that the scores of all pixels of an image were finite.

    Args:
        ids: uint8[H, W], predicted class ids; IGNORE_LABEL marks pixels whose scores
            are not finite.
        name: name of the image, for the error message.

    Raises:
        UserError: `ids` contains IGNORE_LABEL.
    """
    wrong = np.count_nonzero(ids == IGNORE_LABEL)
    if wrong:
        raise UserError(
            f"{name}: the scores of {wrong} of {ids.size} pixels are NaN or infinite,"
            " so these pixels have no class; choose another --checkpoint, or set"
            " model.dtype to float32"
        )
