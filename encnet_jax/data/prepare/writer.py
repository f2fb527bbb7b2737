"""Writes data sets in TFDS's format. TFDS is imported only for writing."""

import contextlib
import functools
import importlib
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from encnet_jax import storage
from encnet_jax.data.archives.containers import MAX_FILE_MIB
from encnet_jax.data.prepare.claim import claimed
from encnet_jax.data.prepare.examples import examples, file_tree
from encnet_jax.data.sets import declared, named_info
from encnet_jax.data.sources.info import STORED_VERSION, VIEWS_FILE, DatasetInfo
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

_BUFFER_BYTES = 64 << 20  # Limit on records in memory that wait to be written in order.


def names() -> list[str]:
    """Returns the names of the data sets that the `prepare` command can write."""
    return [n for n, i in declared().items() if i.entries and not i.stored_as]


def builder(info: DatasetInfo, data_dir: str):
    """Returns the TFDS builder of a data set; the data set need not be prepared.

    Raises:
        UserError: the `prepare` command does not support the data set.
    """
    info = named_info(info.stored_as or info.name)
    if info.entries is None:
        raise UserError(
            f"{info.name} cannot be prepared by this command, which supports only"
            f" {', '.join(names())}; {info.how_to_prepare(data_dir)}"
        )
    return builder_class(info)(
        data_dir=os.path.expanduser(data_dir), file_format="array_record"
    )


@functools.cache
def builder_class(info: DatasetInfo) -> type:
    """Returns a TFDS builder class that writes the examples listed by info.entries."""
    tfds: Any = tensorflow_datasets()
    list_entries: Any = info.entries

    class Builder(tfds.core.GeneratorBasedBuilder):  # type: ignore[name-defined]
        name = info.name
        VERSION = tfds.core.Version(STORED_VERSION)
        opened = contextlib.ExitStack()  # Used by builders that TFDS itself creates.
        MANUAL_DOWNLOAD_INSTRUCTIONS = info.preparation

        def _info(self) -> Any:
            return _tfds_info(self, info)

        def _split_generators(self, dl_manager) -> dict:
            tree = self.opened.enter_context(file_tree(self, dl_manager))
            splits = list_entries(tree)
            if info.views:
                # TFDS renames this folder when it is complete.
                text = json.dumps(info.views(tree))
                (self.data_path / VIEWS_FILE).write_text(text)
            return {s: self._generate_examples(s, e) for s, e in splits.items()}

        def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
            return examples(info, split, entries)

    return Builder


def download_and_prepare(
    builder, sources: Sequence[str], max_file_mib: float = MAX_FILE_MIB
) -> None:
    """Writes a data set with a TFDS builder.

    The folder of the data set has a temporary name until all files are written.

    Args:
        builder: TFDS builder, as returned by the function `builder`.
        sources: paths of archives, folders and files to read.
        max_file_mib: largest size, in MiB, of a source file that is read into memory.

    Raises:
        UserError: the sources are incomplete or broken, or the data set cannot be
            written.
    """
    builder.max_file_mib = max_file_mib  # TFDS passes builders only a folder.
    tfds = tensorflow_datasets()
    with (
        tempfile.TemporaryDirectory() as scratch,
        claimed(builder.data_path.parent),
        contextlib.ExitStack() as builder.opened,
    ):
        config = tfds.download.DownloadConfig(manual_dir=_linked(sources, scratch))
        # With TFDS's default of 1 GiB, most data sets would be kept in memory.
        shuffle: Any = importlib.import_module("tensorflow_datasets.core.shuffle")
        shuffle.MAX_MEM_BUFFER_SIZE = _BUFFER_BYTES
        tfds.disable_progress_bar()  # `examples` shows a progress bar with the total.
        try:
            # Hides TFDS's message about a download of unknown size.
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(
                    download_dir=scratch, download_config=config
                )
        except UserError:
            raise
        # TFDS, TensorFlow and array_record raise errors of many types for a full disk.
        except Exception as error:
            reason = storage.failed_write(error)
            # Another process may have finished the same data set first.
            if isinstance(error, OSError) and builder.is_prepared():
                return
            if reason is None:
                raise
            raise UserError(
                f"{builder.data_path.parent}: {reason}; the incomplete data set was"
                " removed"
            ) from None
        finally:
            tfds.enable_progress_bar()


def _linked(sources: Sequence[str], scratch: str) -> str:
    """Makes a folder with links to the sources: TFDS accepts only one folder."""
    folder = pathlib.Path(scratch) / "sources"
    for number, source in enumerate(sources):
        path = pathlib.Path(source).resolve()
        link = folder / str(number) / path.name
        link.parent.mkdir(parents=True)
        link.symlink_to(path)
    return str(folder)


def _tfds_info(builder, info: DatasetInfo):
    """Returns the tfds.core.DatasetInfo of records with an image, a mask and an id.

    Image files are stored unchanged; masks are PNGs of mode 'L' with the published
    class ids. Records keep the order in which they were generated.
    """
    tfds = tensorflow_datasets()
    return tfds.core.DatasetInfo(
        builder=builder,
        description=info.description,
        homepage=info.source.split()[0],
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "mask": tfds.features.Image(shape=(None, None, 1)),
                "id": tfds.features.Text(),
            }
        ),
        disable_shuffling=True,
    )
