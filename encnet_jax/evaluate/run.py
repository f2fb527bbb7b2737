"""Scores a checkpoint, or labels test images for a benchmark's test server."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from encnet_jax import config as config_lib
from encnet_jax import storage, tasks
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.sources import prepared
from encnet_jax.errors import UserError
from encnet_jax.evaluate import submission, tables
from encnet_jax.evaluate.loading import NEWEST, Selection, load
from encnet_jax.pods import agreement, distributed
from encnet_jax.pods.signals import Stopped, StopRequest
from encnet_jax.scoring import image_scores
from encnet_jax.scoring.evaluator import (
    check_finite,
    image_sizes,
    watched_examples,
)
from encnet_jax.scoring.image_scores import ImageScores
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.quality import Quality
from encnet_jax.scoring.thresholds import Thresholds
from encnet_jax.storage import checks, lookup, outputs
from encnet_jax.tasks.network import Network

IMAGES = "file of image scores"


def evaluate_run(
    workdir: str,
    selection: Selection = NEWEST,
    *,
    output: str | None = None,
    stop: StopRequest | None = None,
) -> dict | None:
    """Scores a checkpoint, prints a table of the scores, and writes a report as JSON.

    The report is written to report.json (the newest report) and to
    report-SPLIT-PROTOCOL.json (one file per split and protocol). For segmentation, each
    process also saves the scores of single images, and the best and the worst images,
    for `encnet report html`.

    SIGTERM or Ctrl-C in any process before the last image is scored ends the evaluation
    in all processes, and nothing is written. Later signals have no effect.

    Args:
        workdir: folder of the run, whose checkpoint defines model and data.
        selection: the checkpoint and the split to score; the default split is
            data.val_split.
        output: folder for the report; None for the workdir.
        stop: records a request to stop; None creates a new StopRequest.

    Returns:
        The report, see evaluate.tables.make_report. None if the evaluation was stopped.

    Raises:
        UserError: the checkpoint does not exist, the split is missing or has no labels,
            selection.config changes a field that evaluation may not change, the
            configuration differs between processes, or the report cannot be written.
    """
    folder = epath.Path(output or workdir)
    distributed.together(lambda: _check_writable(folder, workdir))
    report = None
    with _stoppable(stop) as stop:
        network, dataset, split = distributed.together(
            lambda: _open(workdir, selection, stop)
        )
        agreement.check(
            config_lib.flatten(network.config)
            | {"checkpoint": network.step, "--split": split}
            | {"images": dataset.num_examples(split)}
        )
        distributed.together(lambda: _check_files(folder, network, split))
        report, matrix, images = _score(network, dataset, split, stop)
        # Both numbers identify the files of image scores that belong to this report.
        report["evaluation"] = distributed.shared_number()
        report["processes"] = jax.process_count()
        # The report is finished: later signals have no effect.
        if jax.process_index() == 0:
            # Printed first: saving may fail after hours of work.
            print(tables.format_report(report), flush=True)
        with _saving(folder):
            if images:
                path = folder / _images_name(report)
                outputs.check_replaceable(path, IMAGES, "--output DIR")
                images.save(path, matrix, report["evaluation"])
            if jax.process_index() == 0:
                _save(report, folder)
    return report


def _check_writable(folder: epath.Path, workdir: str) -> None:
    """Raises UserError if process 0 cannot write the report."""
    if jax.process_index() != 0:
        return
    # If the run is missing, `load` raises a clearer error.
    if folder == epath.Path(workdir) and not lookup.exists(folder):
        return
    try:
        checks.check_writable(folder)
    except UserError as error:
        raise UserError(
            f"the report cannot be written: {error}; choose another --output DIR"
        ) from None
    outputs.check_replaceable(folder / "report.json", "report", "--output DIR")


def _check_files(folder: epath.Path, network: Network, split: str) -> None:
    """Raises UserError if a report would replace a file that eval.py did not write."""
    config = network.config
    protocol = tables.protocol_name(config.eval.protocol, config.eval.refine)
    if jax.process_index() == 0:
        path = folder / tables.report_name(split, protocol)
        outputs.check_replaceable(path, "report", "--output DIR")
    if config.task == "segmentation":
        name = image_scores.file_name(split, protocol, jax.process_index())
        outputs.check_replaceable(folder / name, IMAGES, "--output DIR")


@contextlib.contextmanager
def _saving(folder: epath.Path) -> Iterator[None]:
    """Creates a folder; converts an OSError of the `with` block into a UserError.

    The message states that the printed scores were not saved.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{storage.describe(error, folder)}. The scores above were not saved;"
            " choose another folder with --output DIR"
        ) from None


def _images_name(report: dict) -> str:
    protocol = report["protocol"]["name"]
    return image_scores.file_name(report["split"], protocol, jax.process_index())


def _save(report: dict, folder: epath.Path) -> None:
    name = tables.report_name(report["split"], report["protocol"]["name"])
    for file in (name, "report.json"):
        tables.save_report(folder / file, report)
    print(f"report: {folder / name}, and as report.json")


def _open(
    workdir: str, selection: Selection, stop: StopRequest
) -> tuple[Network, Dataset, str]:
    """Loads a network, opens the data set, and checks that the split has labels.

    Returns:
        (network, data set, name of the split to score).
    """
    network = load(workdir, selection, stop=stop)
    split, config = selection.split or network.config.data.val_split, network.config
    if split and "{split}" in config.data.folder.images:
        # Only splits that the configuration names are opened; folders may have others.
        config = config_lib.replaced(config, {"data.val_split": split})
    dataset = tasks.open_dataset(config)
    if not split:
        raise UserError(
            "the run has no validation split: choose a split, for example --split test"
        )
    tables.check_split(split)
    dataset.num_labelled(split)
    return network, dataset, split


def _score(
    network: Network, dataset: Dataset, split: str, stop: StopRequest
) -> tuple[dict, ConfusionMatrix, ImageScores | None]:
    """Scores a split.

    Returns:
        (report, confusion matrix, scores of each image). For classification, the scores
        of each image are None.
    """
    config, variables = network.config, network.prepared()
    examples, total = watched_examples(dataset, split, config.eval.max_images, stop)
    small_px, by_size = config.eval.small_object_px, None
    kept = quality = None
    options: dict[str, Any] = {
        "sizes": partial(image_sizes, dataset, split, config.eval.max_images)
    }
    watched: dict[str, Any] = {}
    if network.task.labels_pixels:
        info, thresholds = network.info, None
        if info.positive_class is not None:
            views = prepared.views(info, config.data.data_dir)
            thresholds = Thresholds(info.positive_class, views)
        options |= {"with_calibration": True, "level_class": info.positive_class}
        kept, quality = ImageScores(), Quality(info.num_classes, thresholds)
        watched = {"watches": (kept.add, quality.add)}
    evaluator = network.evaluator(**options)
    if small_px:
        matrix, *by_size = evaluator.confusion_by_size(
            variables, examples, small_px, total, **watched
        )
    else:
        matrix = evaluator.confusion(variables, examples, total, **watched)
    report = tables.make_report(
        matrix,
        network,
        split=split,
        num_images=total,
        by_size=by_size,
        quality=quality.summary(network.info.class_names) if quality else None,
    )
    return report, matrix, kept


@contextlib.contextmanager
def _stoppable(stop: StopRequest | None = None) -> Iterator[StopRequest]:
    """Yields a StopRequest; if a stop ends the `with` block, prints the reason."""
    try:
        with stop or StopRequest() as request:
            yield request
    except Stopped as reason:
        if jax.process_index() == 0:
            print(
                f"evaluation stopped by {reason}: nothing was written; the same"
                " command starts the evaluation again"
            )


def submit_run(
    workdir: str,
    server_name: str,
    output: str | None,
    selection: Selection = NEWEST,
    *,
    stop: StopRequest | None = None,
) -> int | None:
    """Labels the test images and writes the archive for a test server.

    SIGTERM or Ctrl-C ends the command, and nothing is written.

    Args:
        workdir: folder of the run.
        server_name: a key of evaluate.submission.servers().
        output: file name of the archive.
        selection: the checkpoint and the split to label; the default split is 'test'.
        stop: records a request to stop; None creates a new StopRequest.

    Returns:
        The number of labelled images; None if the command was stopped.

    Raises:
        UserError: the run was trained on another data set, the server would reject the
            archive, or several processes were started.
    """
    output = output or ""
    dataset_name, server = submission.find(server_name, output)
    if jax.process_count() > 1:
        raise UserError(
            f"{jax.process_count()} processes run this command; expected one process:"
            " start the command on one host only"
        )
    outputs.check_replaceable(output, "output", "--output")
    checks.check_writable(epath.Path(output).parent)
    done = None
    with _stoppable(stop) as stop:
        network = load(workdir, selection, whole_images=True, stop=stop)
        config = network.config
        if config.data.name != dataset_name:
            raise UserError(
                f"{workdir} was trained on {config.data.name!r}, but the test server"
                f" {server_name} expects a run on {dataset_name!r}: change --workdir or"
                " --submission"
            )
        dataset = tasks.open_dataset(config)
        split = selection.split or "test"
        examples, total = watched_examples(dataset, split, 0, stop)
        evaluator = network.evaluator(sizes=partial(image_sizes, dataset, split))
        labelled = evaluator.predict(network.prepared(), examples)
        shown = tqdm(
            _named_finite(labelled), "label", total, unit="image", disable=None
        )
        done = submission.write(server, output, shown)
        print(
            f"{output}: {done} images labelled by step {network.step}; the archive"
            " passed the checks"
        )
    return done


def _named_finite(labelled) -> Iterator[tuple[str, np.ndarray]]:
    for example, ids in labelled:
        check_finite(ids, example["id"])
        yield example["id"], ids
