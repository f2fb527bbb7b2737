"""Writes a prepared data set as .npz files of decoded images, resized if requested.

    python -m encnet_jax.data.export_arrays camvid --data_dir data --input_scale 0.5

All images of the data set must have the same size.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image

from encnet_jax import cli, pictures, storage
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources import cifar
from encnet_jax.data.sources.prepared import PreparedSource
from encnet_jax.errors import UserError
from encnet_jax.storage import npz_file, outputs

_SHARD_BYTES = 60e6


def export_arrays(name: str, *, data_dir: str, input_scale: float = 1.0) -> list[str]:
    """Writes a prepared data set as .npz files and returns the paths of these files.

    Each split is written to one or more files data_dir/NAME/SPLIT-NNNNN.npz. CIFAR-10
    is written to train.npz and test.npz, without resizing.

    Args:
        name: Name of a prepared data set.
        data_dir: Folder of prepared data sets.
        input_scale: Factor by which images (bilinear) and masks (nearest neighbour) are
            resized. When training on resized files, set data.input_scale to 1;
            otherwise the images are resized a second time.

    Raises:
        UserError: the data set is not prepared, the images of a split differ in size,
            .npz files already exist, or data_dir is in an object store.
    """
    info = named_info(name)
    if name == "cifar10":
        return cifar.export(info, data_dir)
    folder = storage.local_path(data_dir, "--data_dir") / name
    source = PreparedSource(info, data_dir)
    if any(folder.glob("*.npz")):
        raise UserError(
            f"{folder} already contains .npz files; remove these files to export again"
        )
    with outputs.all_or_none() as files:
        for split, count in source.sizes().items():
            if split not in info.unions:
                _write_split(source, split, count, input_scale, folder, files)
    return [str(file) for file in files]


def _write_split(
    source: PreparedSource,
    split: str,
    count: int,
    input_scale: float,
    folder: pathlib.Path,
    files: list[epath.Path],
) -> None:
    """Writes a split to .npz files and appends the paths of these files to `files`."""
    height, width, _ = _read(source, split, 0, input_scale)[0].shape
    step = max(1, int(_SHARD_BYTES // (height * width * 4)))
    for shard, start in enumerate(range(0, count, step)):
        indices = range(start, min(start + step, count))
        pairs = [_read(source, split, i, input_scale) for i in indices]
        if len({label.shape for _, label in pairs} | {(height, width)}) > 1:
            raise UserError(
                f"{source.info.name} {split} has images of several sizes; expected one"
                " size; instead of exporting, train on the prepared data set"
            )
        images, labels = map(np.stack, zip(*pairs, strict=True))
        file = epath.Path(folder / f"{split}-{shard:05d}.npz")
        npz_file.write(file, {f"{split}_images": images, f"{split}_labels": labels})
        files.append(file)


def _read(source, split: str, index: int, scale: float):
    """Returns (image uint8[H, W, 3], label uint8[H, W]), both resized by `scale`."""
    example = source.example(split, index)
    rows, columns = example.label.shape
    height, width = pictures.scaled_size(rows, columns, scale)
    image = Image.fromarray(example.image).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    label = Image.fromarray(example.label).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.asarray(image), np.asarray(label)


def main(argv: Sequence[str]) -> None:
    """Parses the flags, exports the data set and prints the paths of the files."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("name", "Name of a prepared data set.")
    line.string("data_dir", "Folder of prepared data sets.", "data")
    line.number("input_scale", "Resize images by this factor.", 1.0, least=0.0)
    args = line.parse()
    files = export_arrays(
        args.name, data_dir=args.data_dir, input_scale=args.input_scale
    )
    print("\n".join(files))


if __name__ == "__main__":
    cli.start(main)
