"""Signals: what was stopped says so, and what was finished is kept."""

import json
import sys

from fixtures import OLDER_REPORT, command, flags, folder_set, program, run_file
from registry import case

STOPPED = """
import os, signal
from encnet_jax import cli
from encnet_jax.commands import {command} as command
from encnet_jax.scoring.evaluator import Evaluator

confusion = Evaluator.confusion

def counted(self, variables, examples, *args, **kwargs):
    def some():
        for number, example in enumerate(examples):
            if number == {at}:
                os.kill(os.getpid(), signal.{signal})
            yield example
    result = confusion(self, variables, some(), *args, **kwargs)
    if {at} < 0:
        os.kill(os.getpid(), signal.{signal})
    return result

Evaluator.confusion = counted
cli.start(command.main)
"""


def stopped(name: str, number: str, at: int, status: int, says: str) -> None:
    """Registers an evaluation that gets a signal at an image; -1: after the last."""

    @case(f"13 {name}, eval", status, says, "run")
    def run(root):
        (root / "run/report.json").write_text(OLDER_REPORT)
        text = STOPPED.format(command="eval", at=at, signal=number)
        yield program(root, text, f"--workdir={root}/run")
        report = json.loads((root / "run/report.json").read_text())
        assert (report["step"] == 0) == (status == 0)


stopped("SIGTERM", "SIGTERM", 1, 143, "evaluation stopped by SIGTERM: nothing was")
stopped("Ctrl-C", "SIGINT", 1, 130, "evaluation stopped by SIGINT: nothing was")
stopped("SIGTERM after the last image", "SIGTERM", -1, 0, "pixel_accuracy")
stopped("Ctrl-C after the last image", "SIGINT", -1, 0, "pixel_accuracy")


@case("22 the terminal is lost, train", 0, " by SIGHUP; the same")
def terminal(root):
    folder_set(root / "r")
    words = *flags(root / "r"), "--config.train.total_steps=100000"
    words += "--config.train.checkpoint_every_steps=1", f"--workdir={root}/w"
    yield [
        *(sys.executable, run_file("terminal.py"), f"{root}/w"),
        *command("train.py", *words),
    ]
