"""Progress of a run: a bar in the terminal, scalars and pictures in TensorBoard."""

import math
import time

import jax
import numpy as np
from tqdm import tqdm

from encnet_jax.errors import NotFiniteError
from encnet_jax.train import optim
from encnet_jax.train.event_file import EventFile


class Logbook:
    """Writes what happens in a run; only process 0 writes, all check for NaN."""

    def __init__(self, workdir: str, config, start_step: int):
        """Takes the resolved configuration and the step training starts from."""
        self.workdir = workdir
        self._config = config
        self._writer = EventFile(workdir) if jax.process_index() == 0 else None
        self._bar = tqdm(
            total=config.train.total_steps,
            initial=start_step,
            desc="train",
            unit="step",
            disable=self._writer is None,
        )
        self._bar.set_postfix_str("compiling")
        self._compiling = True
        self._learning_rate = optim.learning_rate(
            config.optim,
            total_steps=config.train.total_steps,
            batch_size=config.train.batch_size,
        )
        self._pending = None
        self._newest = None
        self._since = time.monotonic(), start_step
        self._last_good = start_step
        self._saved = None

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, kind, *exception) -> None:
        self._bar.close()
        if self._writer:
            try:
                self._writer.close()
            except OSError:
                if kind is None:  # Else the error on its way out tells more.
                    raise

    def step_done(self, step: int, metrics: dict) -> None:
        """Takes a step's metrics, still on the device.

        What is due is fetched one step later, so that the device always has work.
        """
        if self._compiling:
            self._bar.set_postfix_str("", refresh=False)
            self._compiling = False
        self._bar.update()
        if self._pending:
            self._write(*self._pending)
            self._pending = None
        self._newest = step, metrics
        if step % self._config.train.log_every_steps == 0:
            self._pending = self._newest

    def flush(self) -> None:
        """Writes the newest metrics now.

        Raises:
            NotFiniteError: they are NaN or infinite; nothing may be saved.
        """
        if self._newest:
            self._write(*self._newest)
        self._pending = self._newest = None

    def _write(self, step: int, metrics: dict) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        if not all(map(math.isfinite, values.values())):
            bad = ", ".join(k for k, v in values.items() if not math.isfinite(v))
            kept = (
                "none was saved yet" if self._saved is None else f"step {self._saved}"
            )
            raise NotFiniteError(
                f"{bad} became NaN or infinite between steps {self._last_good} and"
                f" {step};"
                f" last good checkpoint: {kept}. Lower optim.base_lr or add"
                " optim.warmup_steps"
            )
        self._last_good = step
        now, (then, step_then) = time.monotonic(), self._since
        if step > step_then:
            speed = self._config.train.batch_size * (step - step_then) / (now - then)
            values["images_per_second"] = speed
            self._since = now, step
        values["learning_rate"] = float(self._learning_rate(step - 1))
        if self._writer:
            for name, value in values.items():
                self._writer.scalar(step, f"train/{name}", value)
            self._bar.set_postfix(
                loss=f"{values['loss']:.3f}",
                lr=f"{values['learning_rate']:.2g}",
                images_s=f"{values.get('images_per_second', 0):.1f}",
            )

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Writes scores in [0, 1] under names that carry split and protocol."""
        if self._writer:
            for name, value in scores.items():
                self._writer.scalar(step, name, value)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.note(f"step {step}: {shown}")
        # Time spent evaluating is not training speed.
        self._since = time.monotonic(), step

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8[H, W, 3] picture."""
        if self._writer:
            self._writer.picture(step, name, image)

    def saved(self, step: int) -> None:
        """Notes that a checkpoint of this step was given to be written."""
        self._saved = step

    def note(self, line: str) -> None:
        """Prints a line above the progress bar."""
        if self._writer:
            self._bar.write(line)

    def finish(self, line: str) -> None:
        """Ends the progress bar and prints a last line below it."""
        self._bar.close()
        if self._writer:
            print(line)
