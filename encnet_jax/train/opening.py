"""The lines that a run prints first: devices, data, network, weights and steps."""

from collections.abc import Mapping

import jax

from encnet_jax.config import Config, TrainConfig
from encnet_jax.train import starts
from encnet_jax.train.account import TimeAccount
from encnet_jax.train.logbook import Logbook
from encnet_jax.weights import PUBLISHED, cache

_RANDOM = "randomly initialised"


def weights_line(source: str, before: Mapping, after: Mapping) -> str:
    """Describes the origin of weights: 'ImageNet, mmseg:resnet50_v1c, 267 arrays'.

    An array counts as loaded if it is not the same object in `before` and `after`.

    Args:
        source: field `init_from`.
        before: randomly initialised variables {'params', 'batch_stats'}.
        after: variables from which training starts.
    """
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    taken = sum(x is not y for x, y in pairs)
    if not taken:
        return _RANDOM
    is_backbone = cache.is_name(source) and source in PUBLISHED
    is_backbone = is_backbone and not PUBLISHED.get(source).dataset
    total = len(jax.tree.leaves(after))
    prefix = "ImageNet, " if is_backbone else ""
    rest = f"; {total - taken} {_RANDOM}" if taken < total else ""
    return f"{prefix}{source}, {taken} arrays{rest}"


def lines(
    config: Config,
    sizes: Mapping[str, int],
    num_parameters: int,
    weights: str,
    start_step: int,
) -> list[str]:
    """Returns the lines that a run prints first.

    Five lines state the devices, the data, the network, the origin of the weights and
    the number of steps. A sixth line warns if frozen weights are randomly initialised.

    Args:
        config: resolved configuration.
        sizes: {'images of SPLIT': number of images}.
        num_parameters: number of parameters of the model.
        weights: description of the weights' origin; '' for random initialisation.
        start_step: step of the checkpoint from which the run resumes, or 0.
    """
    devices, processes = jax.devices(), jax.process_count()
    together = f" in {processes} processes" if processes > 1 else ""
    images = ", ".join(
        f"{name.removeprefix('images of ')} {count:,}" for name, count in sizes.items()
    )
    network = f"{config.model.name}, {config.model.backbone}, {config.architecture}"
    train, steps = config.train, config.train.total_steps
    length = f"{steps:,} steps of {train.batch_size} images ({train.epochs:g} epochs)"
    if start_step:
        length += f", from step {start_step:,}"
    evaluations = 0
    if config.data.val_split:
        evaluations = _evaluations(train.eval_every_steps, start_step, steps)
    found = [
        f"devices: {len(devices)} x {devices[0].device_kind}{together}",
        f"data: {config.data.name}, images: {images}",
        f"network: {network}, {num_parameters:,} parameters",
        f"weights: {weights or _RANDOM}",
        f"length: {length}, {evaluations:,} evaluations",
    ]
    if train.freeze and not weights:
        found.append(
            f"warning: train.freeze={train.freeze!r} freezes randomly initialised"
            " weights: set --config.init_from to pre-trained weights"
        )
    return found


def _evaluations(every: int, start: int, end: int) -> int:
    """Returns the number of evaluations after step `start`, up to the last step `end`.

    Args:
        every: steps between two evaluations; 0 evaluates only after the last step.
        start: step at which the run starts or resumes.
        end: last step of the run, which is always evaluated.
    """
    if not every:
        return 1
    between = end // every - start // every
    return between + (end % every > 0)  # The last step is always evaluated.


class Remaining:
    """A training-loop hook that prints up to two estimates of the remaining time.

    The first estimate is printed with the first logged metrics. The second estimate is
    printed after the first evaluation, and includes the remaining evaluations. After an
    interruption, the estimates also use the times that earlier starts recorded.
    """

    def __init__(
        self,
        account: TimeAccount,
        logbook: Logbook,
        train: TrainConfig,
        start_step: int,
        *,
        validates: bool,
    ):
        """Reads the times that earlier starts of the run recorded.

        Args:
            account: time account of this process.
            logbook: logbook of the run, which prints the estimates.
            train: section `train` of the resolved configuration.
            start_step: step of the checkpoint from which the run resumes, or 0.
            validates: whether there is a validation split.
        """
        self._account, self._logbook = account, logbook
        self._train, self._start_step = train, start_step
        self._validates = validates
        self._earlier = starts.read(logbook.workdir)
        # Estimates printed so far: False without evaluations, True with them.
        self._said: set[bool] = set()

    def __call__(self, step: int, state, metrics: dict) -> None:
        """Prints an estimate of the remaining time if due after this step."""
        if step % self._train.log_every_steps or len(self._said) == 2:
            return
        if step == self._train.total_steps:  # Nothing remains.
            return
        evaluated = self._seconds("evaluation") > 0
        if evaluated not in self._said and step > self._start_step + 1:
            self._said |= {evaluated, False}
            self._logbook.note(self.line(step, evaluated))

    def line(self, step: int, evaluated: bool) -> str:
        """Returns an estimate of the remaining time, as a line to print.

        Args:
            step: number of steps done.
            evaluated: whether to include the time of the remaining evaluations.
        """
        total, every = self._train.total_steps, self._train.eval_every_steps
        done = (
            step
            - self._start_step
            + sum(start.to_step - start.from_step for start in self._earlier)
        )
        done -= 1 + len(self._earlier)  # Each start's first step counts as 'compiling'.
        per_step = (self._seconds("steps") + self._seconds("input")) / max(1, done)
        seconds = per_step * (total - step)
        left = _evaluations(every, step, total) if self._validates else 0
        if evaluated:
            past = step // every if every else 0
            seconds += self._seconds("evaluation") / max(1, past) * left
        more = f"{left:,} evaluations included" if evaluated else "without evaluations"
        if not left:
            more = "no evaluation left"
        return (
            f"step {step}: {per_step:.3g} s per step; about {duration(seconds)} remain"
            f" for {total - step:,} steps, {more}"
        )

    def _seconds(self, part: str) -> float:
        earlier = sum(start.seconds.get(part, 0.0) for start in self._earlier)
        return earlier + self._account.seconds()[part]


def duration(seconds: float) -> str:
    """Formats a duration as '3 d 4 h', '2 h 5 min', '7 min' or '40 s'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
