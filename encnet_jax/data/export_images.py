"""Writes images of a data set as PNGs, and their labels as coloured PNGs.

    python -m encnet_jax.data.export_images --config configs/camvid.py --output DIR

DIR/images can be the input folder of predict.py; DIR/labels has the true labels.
"""

import itertools
import pathlib
from collections.abc import Sequence

from etils import epath
from PIL import Image

from encnet_jax import cli
from encnet_jax.data import open_dataset
from encnet_jax.errors import UserError
from encnet_jax.pictures import colourise, save_png
from encnet_jax.storage import checks, outputs


def export_images(data, *, split: str, count: int, output: str) -> int:
    """Writes the first images of a split and their coloured label maps as PNGs.

    Args:
        data: Section `data` of a configuration.
        split: Name of the split.
        count: Maximum number of images to write.
        output: Folder in which the folders `images` and `labels` are created.

    Returns:
        The number of images written.

    Raises:
        UserError: the data set or split does not exist, the data set has no label maps,
            two images would be written to the same file, a file to be replaced was not
            written by this package, or `output` is not writable.
    """
    checks.check_writable(output)
    dataset = open_dataset(data)
    if dataset.info.task != "segmentation":
        raise UserError(
            f"{data.name} has one label per image; expected a data set whose pixels"
            " are labelled"
        )
    folders = [epath.Path(output) / name for name in ("images", "labels")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for example in itertools.islice(dataset.eval_examples(split), count):
        name = _file_name(example["id"])
        if name in written:
            raise UserError(
                f"two images of {data.name}/{split} would both be written to {name}:"
                " rename one of the images"
            )
        label = colourise(example["label"], dataset.info.colours)
        for folder, pixels in zip(folders, (example["image"], label), strict=True):
            outputs.check_replaceable(folder / name, "picture", "--output")
            save_png(folder / name, Image.fromarray(pixels))
        written.add(name)
    return len(written)


def _file_name(example_id: str) -> str:
    path = pathlib.PurePath(example_id)
    # A suffix that is not an image format is part of the name.
    if path.suffix.lower() in Image.registered_extensions():
        path = path.with_suffix("")
    return "_".join(path.parts) + ".png"


def main(argv: Sequence[str]) -> None:
    """Parses the flags and writes the images and labels."""

    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.string("split", "Split of the images. Default: data.val_split.")
    line.string("output", "Folder for the PNGs.", required=True)
    line.integer("count", "Number of images to write.", 6)
    values = line.parse()
    data = values.config.data
    split = values.split or data.val_split
    written = export_images(data, split=split, count=values.count, output=values.output)
    print(f"wrote {written} images of {data.name}/{split} to {values.output}/images")


if __name__ == "__main__":
    cli.start(main)
