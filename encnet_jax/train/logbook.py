"""Progress of a run: a bar in the terminal, scalars and images in TensorBoard."""

import sys
import time

import jax
import numpy as np
from tqdm import tqdm

from encnet_jax.config import TrainConfig
from encnet_jax.train.event_file import EventFile


class Logbook:
    """Reports the progress of a run in the terminal and in TensorBoard files.

    Only process 0 prints and writes.

    Attributes:
        workdir: folder of the run.
        saved_step: step of the newest checkpoint, which may not be completely written
            yet; None if there is no checkpoint.
    """

    def __init__(self, workdir: str, train: TrainConfig, start_step: int):
        """Creates the progress bar and the TensorBoard file.

        Args:
            workdir: folder of the run.
            train: section `train` of the resolved configuration.
            start_step: step of the checkpoint from which training resumes; 0 for a new
                run.
        """
        self.workdir = workdir
        self.saved_step: int | None = start_step or None
        self._batch_size = train.batch_size
        self._writer = EventFile(workdir) if jax.process_index() == 0 else None
        self._bar = tqdm(
            total=train.total_steps,
            initial=start_step,
            desc="train",
            unit="step",
            # A log file gets a line for each logged step instead.
            disable=self._writer is None or not _is_terminal(),
        )
        self._as_lines = self._writer is not None and not _is_terminal()
        self._bar.set_postfix_str("compiling")
        self._compiling = True
        self._since = time.monotonic(), start_step

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, kind, *exception) -> None:
        self._bar.close()
        if self._writer:
            try:
                self._writer.close()
            except OSError:
                if kind is None:  # Otherwise keep the original exception.
                    raise

    def step_done(self, step: int, state, metrics: dict) -> None:
        """Advances the progress bar; called by the training loop after each step."""
        if self._compiling:
            self._bar.set_postfix_str("", refresh=False)
            self._compiling = False
        self._bar.update()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Logs the metrics of a step, and the training speed since the previous call.

        Args:
            step: step of the metrics.
            values: metrics by name; 'loss' and 'learning_rate' are required.
        """
        now, (then, step_then) = time.monotonic(), self._since
        if step > step_then:
            speed = self._batch_size * (step - step_then) / (now - then)
            values = values | {"images_per_second": speed}
            self._since = now, step
        if self._writer:
            for name, value in values.items():
                self._writer.scalar(step, f"train/{name}", value)
            shown = {
                "loss": f"{values['loss']:.3f}",
                "lr": f"{values['learning_rate']:.2g}",
                "images_s": f"{values.get('images_per_second', 0):.1f}",
            }
            self._bar.set_postfix(shown)
            if self._as_lines:
                words = " ".join(f"{name}={value}" for name, value in shown.items())
                print(f"train: {step}/{self._bar.total} {words}", flush=True)

    def times(self, step: int, values: dict[str, float]) -> None:
        """Logs how the time of the run was spent, as scalars time/NAME.

        Args:
            step: step of the scalars.
            values: seconds or fractions by name, such as 'compiling_s' or 'goodput'.
        """
        if self._writer:
            for name, value in values.items():
                self._writer.scalar(step, f"time/{name}", value)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Logs and prints the scores of an evaluation.

        Args:
            step: step of the evaluated state.
            scores: scores in [0, 1] by name, such as 'val/single/mean_iou'.
        """
        if self._writer:
            for name, value in scores.items():
                self._writer.scalar(step, name, value)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.note(f"step {step}: {shown}")
        # The time of the evaluation must not reduce the training speed.
        self._since = time.monotonic(), step

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8[H, W, 3] image to the TensorBoard file."""
        if self._writer:
            self._writer.picture(step, name, image)

    def note(self, line: str) -> None:
        """Prints a line above the progress bar."""
        if self._writer:
            self._bar.write(line)

    def finish(self, line: str) -> None:
        """Closes the progress bar, and prints the run's last line below the bar."""
        self._bar.close()
        if self._writer:
            print(line)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
