"""Evaluation: every image once, on all devices, into one integer confusion matrix."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.pods import distributed, parallel
from encnet_jax.pods.signals import StopRequest
from encnet_jax.scoring import protocols
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs
from encnet_jax.scoring.object_sizes import small_objects

Watch = Callable[[dict, np.ndarray, Callable[[], np.ndarray]], None]


def count_images(labels: jax.Array, ids: jax.Array, *, num_classes: int) -> jax.Array:
    """Returns int32[B, C, C] pairs of (label, prediction) in uint8[B, H, W] each."""
    # One image at a time: float32 counts to 2**24 exactly, a batch may hold more
    # pixels.
    return jax.lax.map(
        lambda pair: count_pairs(pair[0].ravel(), pair[1].ravel(), num_classes),
        (labels, ids),
    )


def local_batch_size(batch_size: int, num_devices: int | None = None) -> int:
    """Returns this process's share of a batch, a multiple of its devices.

    Args:
        batch_size: of all processes.
        num_devices: of this process; None for all it has.
    """
    devices = jax.local_device_count() if num_devices is None else num_devices
    share = batch_size // jax.process_count()
    return max(devices, share // devices * devices)


def watched_examples(
    dataset, split: str, max_images: int, stop: StopRequest
) -> tuple[Iterator[dict], int]:
    """Returns this process's examples, until a stop is agreed, and all processes' sum.

    Args:
        dataset, split, max_images: see Dataset.eval_examples.
        stop: asked once for each example; iterating raises Stopped.
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


def progress_bar(total: int | None) -> tqdm:
    """Returns a bar for process 0's share of `total` images; None shows none."""
    share = None if total is None else total // jax.process_count()
    hidden = not share or jax.process_index() != 0
    return tqdm(total=share, desc="evaluate", unit="image", disable=hidden or None)


class Evaluator:
    """Scores and predicts with one model under one protocol; keeps compiled programs.

    Attributes:
        num_classes: C.
        devices: of this process that work.

    Every process works through its own images on its own devices without waiting for
    others, so differing image sizes cannot deadlock; only the sums are exchanged.
    """

    def __init__(
        self,
        forward: Forward,
        eval_config,
        *,
        protocol: str | None = None,
        refine: str | None = None,
        devices: list | None = None,
    ):
        """Prepares, compiles nothing yet.

        Args:
            forward: of the network.
            eval_config: section `eval` of the resolved configuration.
            protocol, refine: replace those of eval_config.
            devices: of this process; None for all.
        """
        self.num_classes = forward.num_classes
        self.devices = jax.local_devices() if devices is None else devices
        how: dict[str, Any] = {
            "protocol": protocol or eval_config.protocol,
            "batch_size": local_batch_size(eval_config.batch_size, len(self.devices)),
            "devices": self.devices,
        }
        self._protocol = protocols.make(
            forward, eval_config, refine=refine or eval_config.refine, **how
        )
        self._make_scorer = partial(protocols.make_scorer, forward, eval_config, **how)
        count = partial(count_images, num_classes=self.num_classes)
        self._count = parallel.mapped(count, devices=self.devices)

    def confusion(
        self,
        variables: dict,
        examples: Iterable[dict],
        total: int | None = None,
        watch: Watch | None = None,
    ) -> ConfusionMatrix:
        """Counts every pixel of this process's examples, summed over all processes.

        Args:
            variables: replicated on the devices.
            examples: dicts with image uint8[H, W, 3], label uint8[H, W].
            total: of all processes, for the progress bar; None shows none.
            watch: called with each example of this process, its pairs int64[C, C], and
                a function that fetches its labels uint8[H, W] from the device.
        """
        viewed = self._viewed(examples)
        counts, labelled = self._sum(variables, viewed, ("label",), total, watch)
        return _matrix(counts[0], labelled)

    def confusion_by_size(
        self,
        variables: dict,
        examples: Iterable[dict],
        small_px: int,
        total: int | None = None,
        watch: Watch | None = None,
    ) -> tuple[ConfusionMatrix, ConfusionMatrix, ConfusionMatrix]:
        """Counts all pixels, those of small objects, and those of large ones.

        Args:
            variables, examples, total, watch: see confusion.
            small_px: objects of fewer pixels are small; see object_sizes.
        """
        examples = (
            {**e, "small": small_objects(e["label"], small_px)}
            for e in self._viewed(examples)
        )
        keys = ("label", "small")
        counts, labelled = self._sum(variables, examples, keys, total, watch)
        small = ConfusionMatrix.from_counts(counts[1])
        large = ConfusionMatrix.from_counts(counts[0] - counts[1])
        return _matrix(counts[0], labelled), small, large

    def predict(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[dict, np.ndarray]]:
        """Yields (example, uint8[H, W] class ids), in the order batches fill up.

        Pixels without finite scores have the id IGNORE_LABEL; see check_finite.
        Examples come back as the protocol views them.
        """
        return native_results(self._protocol, variables, self._viewed(examples))

    def scores(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array]]:
        """Yields (examples, f32[devices, H, W, C] scores on native canvases).

        They are sums over the protocol's views, neither refined nor divided by their
        number.

        Args:
            variables, examples: see confusion.
        """
        return self._make_scorer().scores(variables, self._viewed(examples))

    def _sum(self, variables, examples, keys, total, watch) -> tuple[np.ndarray, int]:
        """Returns int64[len(keys), C, C] and the labelled pixels, of all processes."""
        shape = (len(keys), self.num_classes, self.num_classes)
        counts, labelled = np.zeros(shape, np.int64), 0
        pending: list[tuple] = []
        with progress_bar(total) as bar:
            for members, ids in self._protocol.ids(variables, examples):
                # Fetched one batch later, so that the devices always have work.
                counts += _fetch(pending, watch)
                pairs = [self._count(self._labels(members, k, ids), ids) for k in keys]
                pending = [(members, ids, pairs)]
                labelled += sum(
                    int(np.count_nonzero(member["label"] != IGNORE_LABEL))
                    for member in members
                )
                bar.update(len(members))
        counts = distributed.sum_over_processes(counts + _fetch(pending, watch))
        return counts, int(distributed.sum_over_processes(np.array([labelled]))[0])

    def _viewed(self, examples: Iterable[dict]) -> Iterator[dict]:
        return map(self._protocol.view, examples)

    def _labels(self, members: list[dict], key: str, ids: jax.Array) -> jax.Array:
        """Lays the members' labels on canvases as `ids` are; the rest is ignored."""
        labels = np.full(
            (ids.shape[0] * ids.shape[1], *ids.shape[2:]), IGNORE_LABEL, np.uint8
        )
        for row, member in zip(labels, members, strict=False):
            label = member[key]
            row[: label.shape[0], : label.shape[1]] = label
        return parallel.shard(labels, self.devices)


def _matrix(counts: np.ndarray, labelled: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix.from_counts(counts)
    matrix.not_finite = labelled - int(counts.sum())
    return matrix


def native_results(
    protocol, variables: dict, examples: Iterable[dict]
) -> Iterator[tuple[dict, Any]]:
    """Yields (example, its results), in the order in which batches fill up.

    Args:
        protocol: see protocols.make.
        variables: replicated on the devices.
        examples: dicts with image uint8[H, W, 3], as the protocol views them.

    Yields:
        The results are the protocol's tree of NumPy arrays [H, W, ...].
    """
    for members, results in protocol.ids(variables, examples):
        results = jax.tree.map(_on_host, results)
        for place, member in enumerate(members):
            height, width = member["image"].shape[:2]
            inside = np.s_[place, :height, :width]
            yield member, jax.tree.map(itemgetter(inside), results)


def _on_host(values: jax.Array) -> np.ndarray:
    """Returns [devices * b, ...] of [devices, b, ...]."""
    return np.asarray(values).reshape(-1, *values.shape[2:])


def check_finite(ids: np.ndarray, name: str) -> None:
    """Raises UserError where class ids uint8[H, W] say that scores were not finite."""
    wrong = np.count_nonzero(ids == IGNORE_LABEL)
    if wrong:
        raise UserError(
            f"{name}: the scores of {wrong} of {ids.size} pixels are NaN or infinite,"
            " which is no class; choose another --checkpoint, or model.dtype float32"
        )


def _fetch(pending: list, watch: Watch | None) -> np.ndarray | int:
    """Returns int64[keys, C, C], the sums over images of a batch that is under way.

    Args:
        pending: nothing, or one (examples, labels uint8[devices, b, H, W], pairs
            int32[devices, b, C, C] for each key).
        watch: see Evaluator.confusion; it gets the pairs of the first key.
    """
    total: np.ndarray | int = 0
    for members, ids, pairs in pending:
        fetched = np.stack([np.asarray(each, np.int64) for each in pairs])
        if watch is not None:
            places = np.ndindex(ids.shape[:2])
            for member, place in zip(members, places, strict=False):
                height, width = member["label"].shape
                watch(
                    member,
                    fetched[0][place],
                    lambda: np.asarray(ids[place])[:height, :width],  # noqa: B023
                )
        total = total + fetched.sum((1, 2))
    return total
