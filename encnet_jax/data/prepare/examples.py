"""Reads and checks the examples that a TFDS builder writes."""

from collections.abc import Iterator
from functools import partial

from tqdm import tqdm

from encnet_jax.data.archives.containers import MAX_FILE_MIB
from encnet_jax.data.archives.entries import Entry
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.pipelines.prefetch import map_ahead
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Record, decode_record
from encnet_jax.errors import UserError

_AHEAD = 32  # Number of examples in memory between reading and writing.

# TFDS sorts records by key into a thousand files, and expects keys spread over 2**128.
# Small keys would all be sorted into the first file, which TFDS keeps in memory.
_KEY_BITS = 128
_GROUP_BITS = 7  # Keys have 128 different prefixes, so that TFDS opens 128 files.


def file_tree(builder, dl_manager) -> FileTree:
    """Returns the FileTree of the published files that a TFDS builder reads."""
    return FileTree(
        dl_manager.manual_dir,
        scratch=str(builder.data_path.parent),
        # Builders that TFDS itself creates, as in its tests, lack this attribute.
        max_mib=getattr(builder, "max_file_mib", MAX_FILE_MIB),
    )


def examples(
    info: DatasetInfo, split: str, entries: list[Entry]
) -> Iterator[tuple[int, dict]]:
    """Yields (sort key, example) for TFDS in order, and shows a progress bar.

    An example is {'image': bytes, 'mask': bytes, 'id': str}. Entries whose function
    `mask` returns None are skipped.

    Raises:
        UserError: a file is broken, a mask has unknown ids or differs from its image in
            size, or all entries are skipped.
    """
    kept = 0
    with tqdm(
        total=len(entries), desc=f"{info.name} {split}", unit="image", disable=None
    ) as bar:
        read = map_ahead(partial(_example, info), entries, ahead=_AHEAD)
        for index, example in enumerate(read):
            if example is not None:
                kept += 1
                yield sort_key(index, len(entries)), example
            bar.update()
        bar.set_postfix_str("writing")
    if not kept:
        raise UserError(
            f"{info.name} {split}: all {len(entries)} images were skipped, because too"
            " few of their pixels belong to a class; expected annotations of these"
            " images; check the files in --source"
        )


def _example(info: DatasetInfo, entry: Entry) -> dict | None:
    image = entry.image.read()
    mask = entry.mask(image)
    if mask is None:
        return None
    record = Record(entry.name, image, mask, str(entry.image), entry.mask_file)
    decode_record(record, info)  # Reports a bad example now instead of in training.
    return {"image": image, "mask": mask, "id": entry.name}


def sort_key(index: int, total: int) -> int:
    """Returns the key by which TFDS sorts an example; keys increase with `index`.

    Keys are spread evenly over the range of 128-bit numbers.
    """
    group = (index << _GROUP_BITS) // total
    return (group << (_KEY_BITS - _GROUP_BITS)) + index
