"""Prepares the folder of results, and skips images that do not fit into memory."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from etils import epath

from encnet_jax.errors import UserError, is_out_of_memory
from encnet_jax.storage import checks, lookup

Found = TypeVar("Found")


def prepare_folder(
    output: str,
    paths: dict[str, epath.Path],
    ends: tuple[str, ...],
    *,
    overwrite: bool = False,
) -> epath.Path:
    """Checks and creates the folder for results, before images are labelled.

    Args:
        output: folder for the results.
        paths: {NAME: path} of the images; the result files are named NAME_END.
        ends: the END of each result file, such as 'ids.png'.
        overwrite: whether existing result files may be replaced.

    Raises:
        UserError: `output` is the folder of one of the images, existing files would be
            replaced, or the folder cannot be written to.
    """
    folder = epath.Path(output)
    places = {os.path.realpath(path.parent) for path in paths.values()}
    if os.path.realpath(folder) in places:
        raise UserError(
            f"--output {folder} is the folder of the images; expected another folder,"
            " because results could replace images and would be read as images next"
            " time"
        )
    checks.check_writable(output)
    if not overwrite and lookup.is_folder(folder):
        there = {path.name for path in folder.iterdir()}
        made = (f"{name}_{end}" for name in paths for end in ends)
        found = next(
            (x for x in made if x in there or "/" in x and (folder / x).exists()), None
        )
        if found:
            raise UserError(
                f"{folder / found} already exists: choose another --output, or add"
                " --overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def leaving_out_too_large(
    describe: Callable[[Iterable[dict]], Iterator[tuple[dict, Found]]],
    examples: Iterator[dict],
    broken: dict[str, str],
    smaller: Callable[[], None] = lambda: None,
) -> Iterator[tuple[dict, Found]]:
    """Labels images; skips images that do not fit into memory.

    If a batch does not fit, the images of the batch are labelled one at a time.

    Args:
        describe: function that labels an iterable of examples and yields (example,
            results), in any order.
        examples: dicts with 'image' uint8[H, W, 3] and 'id'.
        broken: dict to which {id: error message} is added for each skipped image.
        smaller: function that is called when a batch does not fit, for example to
            reduce the padding of later images.

    Yields:
        The pairs (example, results) that `describe` yields.
    """
    waiting: dict[str, dict] = {}

    def noted() -> Iterator[dict]:
        for example in examples:
            waiting[example["id"]] = example
            yield example

    def one(example: dict) -> Iterator[tuple[dict, Found]]:
        try:
            yield from describe([example])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            height, width = example["image"].shape[:2]
            broken[example["id"]] = (
                f"{example['id']}: {width}x{height} pixels do not fit into memory;"
                " reduce the image, or use a device with more memory"
            )

    while True:
        try:
            for example, found in describe(noted()):
                del waiting[example["id"]]
                yield example, found
            return
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        smaller()
        for example in list(waiting.values()):
            del waiting[example["id"]]
            yield from one(example)
