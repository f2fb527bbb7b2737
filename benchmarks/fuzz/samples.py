"""Undamaged files of every kind that a reader accepts."""

import io
import json
import struct
import zipfile

import numpy as np
import safetensors.numpy
import scipy.io
from PIL import Image

from benchmarks.fuzz import runs


def samples() -> dict[str, list[bytes]]:
    """Returns kind of reader -> undamaged files."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (24, 32, 3), np.uint8)
    ids = rng.integers(0, 11, (24, 32), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(array, kind, **options) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        return buffer.getvalue()

    def packed(**arrays) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.png", saved(ids, "PNG"))
    weights = {"a.running_var": np.ones(9, np.float32), "b": np.ones((3, 4))}
    sums = {"data": [5, "0" * 64]}
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [[1, 2], {}]}
    images = [saved(rgb, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")]
    images += [saved(rgb, "JPEG", exif=exif), saved(rgb, "PNG", exif=exif)]
    images += [saved(rgb, "JPEG", progressive=True), saved(rgb, "TIFF", exif=exif)]
    images += [saved(ids.astype(np.uint16), "PNG"), saved(np.float32(ids), "TIFF")]
    images += [saved(rgb, "TIFF", compression="tiff_lzw")]
    return {
        "images": images,
        "masks": [saved(ids, kind) for kind in ("PNG", "BMP", "TIFF")],
        ".npz": [
            packed(train_images=rgb[None], train_labels=ids[None]),
        ],
        ".safetensors": [safetensors.numpy.save(weights)],
        ".params": [_mxnet_file({"arg:a": np.ones((3, 4), np.float32)})],
        ".pth": _torch_files(weights),
        "archives": [zipped.getvalue()],
        "JSON": [json.dumps(x).encode() for x in (sums, coco)],
        "annotations": [_annotations()],
        "MATLAB": [_matlab(compressed) for compressed in (False, True)],
        **runs.samples(),
    }


def _annotations() -> bytes:
    rle = {"size": [9, 7], "counts": [10, 20, 33]}
    found = [
        {"image_id": 1, "category_id": 3, "segmentation": segmentation}
        for segmentation in ([[0, 0, 5, 0, 5, 5]], rle)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": 9, "width": 7}
    return json.dumps({"images": [image], "annotations": found}).encode()


def _matlab(compressed: bool) -> bytes:
    buffer, mask = io.BytesIO(), np.ones((8, 9), np.uint8)
    names = np.array([["wall"], ["floor"]], object)
    variables = {"GTcls": {"Segmentation": mask}, "names": names}
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def _mxnet_file(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns a .params file as written by MXNet 1.x; see torch_weights.mxnet."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        content += struct.pack("<IiI", 0xF993FAC9, 0, array.ndim)
        content += struct.pack(f"<{array.ndim}q", *array.shape)
        content += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    return content


def _torch_files(weights) -> list[bytes]:
    try:
        import torch
    except ImportError:
        return []
    buffers = []
    for new in (True, False):
        buffer = io.BytesIO()
        tensors = {name: torch.from_numpy(x) for name, x in weights.items()}
        torch.save(tensors, buffer, _use_new_zipfile_serialization=new)
        buffers.append(buffer.getvalue())
    return buffers
