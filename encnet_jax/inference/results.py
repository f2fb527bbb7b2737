"""Where labelled images go, and what becomes of one that cannot be labelled."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError, is_out_of_memory

Found = TypeVar("Found")


def prepare_folder(
    output: str,
    paths: list[epath.Path],
    ends: tuple[str, ...],
    *,
    overwrite: bool = False,
) -> epath.Path:
    """Makes the folder for the results of some images, before they are labelled.

    Args:
        output: folder, not that of the images.
        paths: of the images.
        ends: of the files of an image, after its name: STEM_END.
        overwrite: whether what an earlier call wrote there may be replaced.

    Raises:
        UserError: something of the user's would be replaced, or the folder cannot be
            written to.
    """
    folder = epath.Path(output)
    if os.path.realpath(paths[0].parent) == os.path.realpath(folder):
        raise UserError(
            f"--output {folder} is the folder of the images, whose files would be"
            " replaced, and results taken for images next time; name another folder"
        )
    storage.check_writable(output)
    if not overwrite and folder.is_dir():
        there = {path.name for path in folder.iterdir()}
        made = (f"{path.stem}_{end}" for path in paths for end in ends)
        found = next((name for name in made if name in there), None)
        if found:
            raise UserError(
                f"{folder / found} is there already; wanted a folder without results of"
                " these images, or --overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def leaving_out_too_large(
    describe: Callable[[Iterable[dict]], Iterator[tuple[dict, Found]]],
    examples: Iterator[dict],
    broken: list[str],
) -> Iterator[tuple[dict, Found]]:
    """Yields what `describe` does; an image that does not fit into memory is left out.

    Images that waited with it are described one at a time.

    Args:
        describe: examples -> (example, what was found) of each, in any order.
        examples: dicts with image uint8[H, W, 3] and id.
        broken: gets a line for each image that is left out.
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
            broken.append(
                f"{example['id']}: {width}x{height} pixels do not fit into memory; make"
                " the image smaller, or use a larger device"
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
        for example in list(waiting.values()):
            del waiting[example["id"]]
            yield from one(example)
