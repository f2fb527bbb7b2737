"""The readers of every kind of file, functions of content and name."""

import contextlib
import io
import os
import pathlib
from collections.abc import Callable

import numpy as np
from etils import epath

from benchmarks.fuzz import runs
from encnet_jax.checkpoints import integrity
from encnet_jax.data.archives import containers, matlab
from encnet_jax.data.archives.file_tree import StoredFile
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.archives.json_stream import array_items
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources import decode, npz, records
from encnet_jax.data.sources.decode import ImageRules
from encnet_jax.torch_weights import files, state_dicts

RULES = ImageRules(max_pixels=1e6, value_range=(0, 65535))
Reader = Callable[[bytes, str], object]


def readers(folder: pathlib.Path) -> dict[str, list[Reader]]:
    """Returns the readers of each kind of file; they may write to the folder."""

    def stored(content: bytes, suffix: str) -> epath.Path:
        path = epath.Path(folder) / f"x{suffix}"
        path.write_bytes(content)
        return path

    def weights(content: bytes, name: str):
        found = state_dicts.unwrap(files.read_state_dict(stored(content, name[1:])))
        for entry, values in found.items():
            state_dicts.check_values(f"{name}, {entry}", values)

    def sums(content: bytes, name: str):
        (folder / integrity.NAME).write_bytes(content)
        integrity.find_damage(epath.Path(folder))

    def items(content: bytes, name: str):
        list(array_items(io.BytesIO(content), name))

    return {
        **_of_images(),
        ".npz": [lambda content, name: npz.load(stored(content, ".npz"), "arrays", 64)],
        ".safetensors": [weights],
        ".params": [weights],
        ".pth": [weights],
        "JSON": [sums, items],
        **_of_published_files(stored),
        **runs.readers(folder),
    }


def _of_images() -> dict[str, list[Reader]]:
    info = named_info("camvid")
    mask = decode.encode_png(np.zeros((24, 32), np.uint8))

    def example(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.decode_record(record, info, RULES)

    def for_tensorflow(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.for_tensorflow(record, RULES)

    return {
        "images": [
            lambda content, name: decode.decode_image(content, name, RULES),
            lambda content, name: decode.image_size(content, name, RULES),
            example,
            for_tensorflow,
        ],
        "masks": [
            lambda content, name: decode.decode_mask(content, name, RULES),
            lambda content, name: decode.tensorflow_decodes(
                content, name, RULES, mask=True
            ),
        ],
    }


def _of_published_files(
    stored: Callable[[bytes, str], epath.Path],
) -> dict[str, list[Reader]]:
    """Returns the readers of archives, COCO annotations and MATLAB files.

    Args:
        stored: writes a file with this content and suffix.
    """

    def archive(content: bytes, name: str):
        path = os.fspath(stored(content, ".zip"))
        with contextlib.closing(containers.open_archive(path, scratch=None)) as opened:
            for member in opened.names():
                opened.read(member)

    def annotations(content: bytes, name: str):
        with open(stored(content, ".json"), "rb") as file:
            keys = Keys("annotations", "id")
            found = Annotations(file, name, keys, lambda annotation: True)
            for image_id in found.annotated():
                list(found.of_image(image_id))

    def variables(content: bytes, name: str):
        path = stored(content, ".mat")
        folder = containers.Folder(str(path.parent), [path.name], 1)
        found = matlab.variables(StoredFile(folder, path.name), "GTcls", "names")
        with matlab.described(name):
            matlab.mask(found["GTcls"]["Segmentation"])

    return {
        "archives": [archive],
        "annotations": [annotations],
        "MATLAB": [variables],
    }
