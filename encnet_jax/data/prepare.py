"""Writes a data set in the form that training reads.

    python -m encnet_jax.data.prepare NAME --source ARCHIVE_OR_FOLDER --data_dir DIR

May be interrupted and repeated: an unfinished data set is never taken for a whole one.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence

from encnet_jax import cli
from encnet_jax.data import builders
from encnet_jax.data.catalog import named_info
from encnet_jax.errors import UserError


def prepare(name: str, *, source: str | None, data_dir: str) -> dict[str, int]:
    """Prepares a data set and returns the number of examples of each split.

    Args:
        name: Of the catalogue.
        source: An archive or folder; None for generated data sets.
        data_dir: Where prepared data sets lie.

    Raises:
        UserError: it is prepared already, cannot be prepared, or a file is broken.
    """
    info = named_info(name)
    builder = builders.builder(info, data_dir)
    if builder.is_prepared():
        raise UserError(
            f"{name} is prepared already in {builder.data_path}; remove that folder to "
            "prepare it anew"
        )
    if name in builders.GENERATED:
        builders.download_and_prepare(builder)
    elif source is None:
        raise UserError(f"{name} needs --source; {info.preparation}")
    else:
        with _unpacked(source, data_dir) as folder:
            builders.download_and_prepare(builder, find_root(folder, info.splits))
    return {
        s: builder.info.splits[s].num_examples
        for s in info.splits
        if s in builder.info.splits
    }


@contextlib.contextmanager
def _unpacked(source: str, data_dir: str) -> Iterator[pathlib.Path]:
    """Gives the source's folder; an archive's contents exist only meanwhile."""
    path = pathlib.Path(source).expanduser()
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise UserError(f"--source {source}: no such file or folder")
    if not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        raise UserError(f"--source {source}: wanted a folder, a .zip or a .tar archive")
    os.makedirs(data_dir, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=data_dir) as folder:
        try:
            if zipfile.is_zipfile(path):
                shutil.unpack_archive(path, folder, "zip")
            else:
                with tarfile.open(path) as archive:
                    archive.extractall(folder, filter="data")
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"--source {source}: cannot unpack it ({error})") from None
        yield pathlib.Path(folder)


def find_root(folder: pathlib.Path, splits: tuple[str, ...]) -> str:
    """Returns the first folder, at most two levels down, that holds a split's folder.

    Where there is none it is `folder` itself, and the builder says what it misses.
    """
    for pattern in ("", "*/", "*/*/"):
        for split in splits:
            for found in sorted(folder.glob(f"{pattern}{split}")):
                if found.is_dir():
                    return str(found.parent)
    return str(folder)


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m encnet_jax.data.prepare", description=__doc__.split("\n")[0]
    )
    parser.add_argument("name", help="a data set of encnet_jax.data.catalog")
    parser.add_argument("--source", help="the archive or folder to read from")
    parser.add_argument("--data_dir", default="data", help="the folder to write to")
    args = parser.parse_args(argv[1:])
    counts = prepare(args.name, source=args.source, data_dir=args.data_dir)
    for split, count in counts.items():
        print(f"{args.name} {split}: {count} examples")
    print(
        f"next: python train.py --config configs/{args.name}.py "
        f"--config.data.data_dir={args.data_dir}"
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
