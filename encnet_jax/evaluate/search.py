"""Searches for good parameters of the dense CRF on training images of a run.

python -m encnet_jax.report refine runs/camvid
python eval.py --workdir runs/camvid --refine runs/camvid/refine.json

Validation images are not used, because the scores are measured on them. The network is
more accurate on training images than on other images, so the resulting CRF may refine
other images too little.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from etils import epath

from encnet_jax import cli, tasks
from encnet_jax.crf.dense import DenseParams
from encnet_jax.errors import UserError
from encnet_jax.evaluate import tables
from encnet_jax.evaluate.loading import Selection, load
from encnet_jax.pods import parallel
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import dense_refined
from encnet_jax.storage import checks, outputs
from encnet_jax.tasks.network import Network

FACTORS = (0.5, 2.0)  # The best value of a parameter is multiplied by these factors.

REFINED = "file of CRF parameters"


def search(
    score: Callable[[DenseParams], float],
    start: DenseParams,
    rounds: int,
    report: Callable[[DenseParams, float], None] = lambda params, value: None,
) -> tuple[DenseParams, float]:
    """Changes one parameter at a time, and keeps each change that raises the score.

    Args:
        score: function that maps parameters to a score; larger is better.
        start: initial parameters.
        rounds: maximum number of passes over all parameters; a pass without an
            improvement ends the search.
        report: function (parameters, score) that is called after each trial.

    Returns:
        (the best parameters, their score).
    """
    best, best_score = start, score(start)
    report(best, best_score)
    for _ in range(rounds):
        before = best_score
        for name, factor in itertools.product(DenseParams._fields, FACTORS):
            tried = best._replace(**{name: factor * getattr(best, name)})
            value = score(tried)
            report(tried, value)
            if value > best_score:
                best, best_score = tried, value
        if best_score == before:
            break
    return best, best_score


class TrainingScores:
    """Class scores of training images.

    The network runs only once. Every call of `mean_iou` refines a copy of the scores
    with other settings of the CRF.
    """

    def __init__(self, network: Network, number: int):
        """Runs the network once over `number` images of data.train_split.

        Raises:
            UserError: training and validation split are the same, or an image is
                smaller than the window of the CRF.
        """
        config = network.config
        dataset = tasks.open_dataset(config)
        split = config.data.train_split
        if split == config.data.val_split:
            raise UserError(
                f"data.train_split and data.val_split are both {split!r}; expected"
                " different splits, because CRF parameters must not be tuned on the"
                " images that are scored"
            )
        sizes = partial(dataset.spread_sizes, split, number)
        evaluator = network.evaluator(sizes=sizes)
        self._settings, self._absent = config.eval.dense, config.eval.absent_classes
        self._devices, self._num_classes = evaluator.devices, evaluator.num_classes
        self._refine = dense_refined.make_refine(self._settings, self._devices)
        examples = dataset.spread_examples(split, number)
        examples = (dense_refined.checked(e, self._settings.radius) for e in examples)
        variables = network.prepared()
        self._kept = [
            (members, _probabilities(np.asarray(total)))
            for members, total, _ in evaluator.scores(variables, examples)
        ]

    def mean_iou(self, params: DenseParams | None) -> float:
        """Returns the mean IoU after refinement, or unrefined if `params` is None."""
        matrix = ConfusionMatrix(self._num_classes)
        for members, total in self._kept:
            total = total.astype(np.float32)
            if params is None:
                ids = total.argmax(-1)[:, None]
            else:
                placed = dense_refined.place(members, total.shape[1:3], self._devices)
                total = parallel.spread(total, self._devices)
                ids = np.asarray(self._refine(total, *placed, params))
            for member, own in zip(members, ids[:, 0], strict=False):
                label = member["label"]
                matrix.update(label, own[: label.shape[0], : label.shape[1]])
        return matrix.mean_iou(self._absent)


def _probabilities(total: np.ndarray) -> np.ndarray:
    """Normalises scores [..., C] to probabilities, in float16 to save memory."""
    sums = np.maximum(total.sum(-1, keepdims=True), 1e-30)
    smallest = np.finfo(np.float16).smallest_subnormal
    return np.maximum(total / sums, smallest).astype(np.float16)


def main(argv: Sequence[str]) -> None:
    """Parses the flags, searches for good parameters, and writes them."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", "Workdir of the run; refine.json is written there.")
    line.integer("number", "Number of training images.", 20, least=1)
    line.integer("rounds", "Number of passes over all parameters.", 2, least=1)
    line.checkpoint()
    line.string("protocol", "Evaluation protocol. Default: eval.protocol.")
    line.string("data_dir", "Folder of prepared data sets. Default: that of the run.")
    args = line.parse()
    if jax.process_count() > 1:
        raise UserError(
            f"{jax.process_count()} processes run this command; expected one process:"
            " start the command on one host only"
        )
    checks.check_writable(args.run)
    path = epath.Path(args.run) / "refine.json"
    outputs.check_replaceable(path, REFINED)
    fields = {"eval.refine": "dense"}
    if args.data_dir:
        fields["data.data_dir"] = args.data_dir
    selection = Selection(
        checkpoint=args.checkpoint, protocol=args.protocol, fields=fields
    )
    network = load(args.run, selection, whole_images=True)
    dense = network.config.eval.dense
    images = TrainingScores(network, args.number)
    print(f"unrefined: mean IoU {100 * images.mean_iou(None):.2f} %")
    start = dense_refined.params_of(dense)
    best, value = search(images.mean_iou, start, args.rounds, _print)
    found = {
        **best._asdict(),
        "radius": dense.radius,
        "iterations": dense.iterations,
    }
    tables.save_report(path, found, REFINED)
    print(f"best: mean IoU {100 * value:.2f} % on {args.number} training images")
    print(f"step {network.step}: {json.dumps(found)}")
    print(f"to use the parameters: python eval.py --workdir {args.run} --refine {path}")


def _print(params: DenseParams, value: float) -> None:
    shown = ", ".join(f"{name} {x:g}" for name, x in params._asdict().items())
    print(f"{100 * value:.2f} %: {shown}", flush=True)
