"""Fits the softmax temperature of a run on images outside the validation split.

python -m encnet_jax.report calibrate runs/camvid
python eval.py --workdir runs/camvid --temperature runs/camvid/temperature.json
"""

import json
from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from etils import epath

from encnet_jax import cli, storage, tasks
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.errors import UserError
from encnet_jax.evaluate import tables
from encnet_jax.evaluate.loading import Selection, load
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.scoring.calibration import fit_temperature
from encnet_jax.storage import checks, lookup, outputs
from encnet_jax.tasks.network import Network

FILE = "temperature.json"
_KIND = "temperature"
_PIXELS_PER_IMAGE = 2000


def temperature_fields(temperature: str | None) -> dict:
    """Converts the value of --temperature to a field of the configuration.

    Args:
        temperature: a number above 0, or a file written by `report calibrate`; None if
            the flag is not given.

    Returns:
        {'eval.temperature': value}, or {} if the flag is not given.

    Raises:
        UserError: the value is neither a number nor a file written by `report
            calibrate`.
    """
    if temperature is None:
        return {}
    try:
        value = float(temperature)
    except ValueError:
        path = epath.Path(temperature)
        if not lookup.exists(path) or lookup.is_folder(path):
            raise UserError(
                f"--temperature is {temperature!r}; expected a number above 0, or a"
                " file written by `python -m encnet_jax.report calibrate`"
            ) from None
        found = storage.read_json(path)
        value = found.get("temperature", "")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(
                f"the file {path} (--temperature) has no numeric field 'temperature';"
                " expected a file written by `python -m encnet_jax.report calibrate`"
            ) from None
    return {"eval.temperature": float(value)}


def sampled_pixels(
    network: Network, dataset: Dataset, split: str, number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions and labels of randomly chosen labelled pixels.

    Up to 2,000 pixels are chosen from each image.

    Args:
        network: the network; the images are predicted with protocol eval.protocol.
        dataset, split: the data set and the split that contains the images.
        number: number of images, evenly spread over the split.
        seed: seed of the random choice of pixels.

    Returns:
        (log-probabilities f32[N, C], labels uint8[N]) of N pixels.

    Raises:
        UserError: no pixel is labelled.
    """
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    evaluator = network.evaluator(sizes=partial(dataset.spread_sizes, split, number))
    examples = dataset.spread_examples(split, number)
    for members, total, _ in evaluator.scores(network.prepared(), examples):
        for member, scores in zip(members, np.asarray(total), strict=False):
            known = np.flatnonzero(member["label"] != IGNORE_LABEL)
            chosen = rng.permutation(known)[:_PIXELS_PER_IMAGE]
            height, width = member["label"].shape
            flat = scores[:height, :width].reshape(-1, scores.shape[-1])[chosen]
            sums = flat.sum(-1, keepdims=True)
            rows.append(np.log(np.maximum(flat / np.maximum(sums, 1e-30), 1e-30)))
            labels.append(member["label"].ravel()[chosen])
    if not sum(map(len, labels)):
        raise UserError(
            "no pixel of the selected images is labelled: choose another --split, or a"
            " larger --number"
        )
    return np.concatenate(rows), np.concatenate(labels)


def main(argv: Sequence[str]) -> None:
    """Parses the flags, fits the temperature and writes it to the run's folder."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", f"Workdir of the run; {FILE} is written there.")
    line.string(
        "split",
        "Split to fit on, other than data.val_split. Default: data.train_split.",
    )
    line.integer("number", "Number of images, spread over the split.", 50, least=1)
    line.checkpoint()
    line.string("protocol", "Evaluation protocol. Default: eval.protocol.")
    line.string("data_dir", "Folder of prepared data sets. Default: that of the run.")
    args = line.parse()
    if jax.process_count() > 1:
        raise UserError(
            f"{jax.process_count()} processes run this command; expected one process:"
            " start the command on one host only"
        )
    path = epath.Path(args.run) / FILE
    checks.check_writable(args.run)
    outputs.check_replaceable(path, _KIND)
    fields = {"eval.temperature": 1.0}
    if args.data_dir:
        fields["data.data_dir"] = args.data_dir
    selection = Selection(
        checkpoint=args.checkpoint, protocol=args.protocol, fields=fields
    )
    network = load(args.run, selection, whole_images=True)
    data = network.config.data
    split = args.split or data.train_split
    if split == data.val_split:
        raise UserError(
            f"--split is {split!r}, the split that is scored; expected another split,"
            " so that the temperature is fitted on other images: change --split"
        )
    dataset = tasks.open_dataset(network.config)
    rows, labels = sampled_pixels(network, dataset, split, args.number)
    temperature = fit_temperature(rows, labels)
    found = {
        "temperature": temperature,
        "split": split,
        "images": args.number,
        "pixels": len(labels),
        "step": network.step,
        "protocol": network.config.eval.protocol,
        "nll_before": _nll(rows, labels, 1.0),
        "nll_after": _nll(rows, labels, temperature),
    }
    tables.save_report(path, found, _KIND)
    print(json.dumps(found, indent=1))
    print(
        f"to use the temperature: python eval.py --workdir {args.run}"
        f" --temperature {path}"
    )


def _nll(rows: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Returns the mean negative log-likelihood of the labels."""
    log_p = jax.nn.log_softmax(rows / temperature, axis=-1)
    of_labels = np.take_along_axis(np.asarray(log_p), labels[:, None].astype(int), -1)
    return float(-of_labels.mean())
