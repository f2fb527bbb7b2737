"""Compares the results of an exported file with those of the network."""

import inspect
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax
import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.export import FORMATS
from encnet_jax.export.program import Program, native_scores
from encnet_jax.registry import imported

# Labels may differ where the two largest logits are closer than this fraction of the
# logits' range.
MARGIN = 1e-3
LEAST_EQUAL = 0.999  # Smallest fraction of pixels with equal labels.
_RUN_FILE = pathlib.Path(__file__).with_name("run_file.py")


class Comparison(NamedTuple):
    """Differences between the results of an exported file and of the network.

    Attributes:
        equal: fraction of pixels with equal labels.
        clear_differences: number of pixels with different labels that are not near
            ties. In a near tie, the network's two largest scores differ by at most
            MARGIN times the range of scores.
        logit_difference: largest absolute difference of a logit, as a fraction of the
            range of the network's logits.
        seconds: seconds per image of the exported file, without compilation.
        seconds_here: seconds per image of the network in JAX, without compilation.
        platform: the platform that ran the file.
        presence_difference: largest difference of presence probabilities; 0 without an
            SE branch.
    """

    equal: float
    clear_differences: int
    logit_difference: float
    seconds: float
    seconds_here: float
    platform: str
    presence_difference: float = 0.0


def compare(
    program: Program,
    file: pathlib.Path,
    kind: str,
    images: np.ndarray,
    sizes: np.ndarray | None = None,
) -> Comparison:
    """Runs an exported file in a separate process, and compares it with the network.

    Args:
        program: the exported function.
        file: the exported file.
        kind: name of the format, a key of FORMATS.
        images: uint8[B, height, width, 3], the images, padded to one size.
        sizes: int32[B, 2], height and width of each image before padding; None if the
            images are not padded.

    Raises:
        UserError: the file cannot be run.
    """
    if sizes is None:
        sizes = np.asarray([images.shape[1:3]] * len(images), np.int32)
    inputs = {"images": images} | ({"sizes": sizes} if program.masked else {})
    theirs = _run(file, kind, inputs)
    ours, seconds = _run_here(program, inputs)
    scale = np.ptp(ours["logits"])
    apart = MARGIN * (1 if program.of_probabilities else scale)
    equal, clear = 0, 0
    for mine, labels, size in zip(
        ours["logits"], theirs["labels"], sizes.tolist(), strict=True
    ):
        own = program.of_size(size, images.shape[1:3])
        for rows, scores in native_scores(own, mine):
            differ = labels[rows, : size[1]] != np.argmax(scores, axis=-1)
            second, best = np.partition(scores, -2, axis=-1)[..., -2:].transpose(
                2, 0, 1
            )
            clear += int(np.sum(differ & (best - second > apart)))
            equal += int(np.sum(~differ))
    return Comparison(
        equal=equal / int(sizes.prod(axis=1).sum()),
        clear_differences=clear,
        logit_difference=float(np.abs(theirs["logits"] - ours["logits"]).max() / scale),
        seconds=float(theirs["seconds"]) / len(images),
        seconds_here=seconds / len(images),
        platform=str(theirs["platform"]),
        presence_difference=_presence_difference(ours, theirs),
    )


def _presence_difference(ours: dict, theirs: dict) -> float:
    if "presence" not in ours:
        return 0.0
    return float(np.abs(theirs["presence"] - ours["presence"]).max())


def passed(found: Comparison) -> bool:
    """Returns whether the file's results are close enough to the network's."""
    close = found.presence_difference <= MARGIN
    return close and found.clear_differences == 0 and found.equal >= LEAST_EQUAL


def describe(found: Comparison) -> str:
    """Returns a comparison as one line of text."""
    return (
        f"labels equal in {100 * found.equal:.3f} % of pixels,"
        f" {found.clear_differences} clear differences, largest logit difference"
        f" {found.logit_difference:.1e} of their range;"
        f" {found.seconds:.2f} s per image, {found.seconds_here:.2f} s here"
    )


def _run(file: pathlib.Path, kind: str, inputs: dict[str, np.ndarray]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        names = ("load.py", "in.npz", "out.npz")
        load, given, output = (pathlib.Path(folder, name) for name in names)
        opener = imported(FORMATS.registration(kind).facts["load"])
        source = f"{inspect.getsource(opener)}\nload = {opener.__name__}\n"
        load.write_text(source, encoding="utf-8")
        np.savez(given, **inputs)  # type: ignore[arg-type]
        # -P: modules next to the script must not be imported by mistake.
        words = (_RUN_FILE, file, load, given, output)
        command = [sys.executable, "-P", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{file} cannot be run by its runtime: {last}")
        with np.load(output) as found:
            return dict(found)


def _run_here(program: Program, inputs: dict[str, np.ndarray]) -> tuple[dict, float]:
    run = jax.jit(program.run)
    found = jax.device_get(run(*inputs.values()))
    start = time.perf_counter()
    jax.block_until_ready(run(*inputs.values()))
    return found, time.perf_counter() - start
