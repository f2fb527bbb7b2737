"""The TFDS builders, one file a data set; TFDS is imported only when one is used."""

import contextlib
import importlib
import io
import os
import pathlib
import tempfile
from collections.abc import Sequence

from encnet_jax.data.archives.containers import MAX_FILE_MIB
from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.prepare.claim import claimed
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

BUILDERS = {  # Name -> class, in the module of the name.
    "ade20k": "Ade20k",
    "camvid": "CamVid",
    "cityscapes": "Cityscapes",
    "coco_voc": "CocoVoc",
    "pascal_context": "PascalContext",
    "pascal_voc": "PascalVoc",
}
_BUFFER_BYTES = 64 << 20  # Of records that wait in memory to be written in order.


def builder(info: DatasetInfo, data_dir: str):
    """Returns the TFDS builder of a data set, prepared or not.

    Raises:
        UserError: the data set has no builder.
    """
    name = info.stored_as or info.name
    if name not in BUILDERS:
        raise UserError(
            f"{name} is not for this command, only {', '.join(BUILDERS)}; "
            f"{info.how_to_prepare(data_dir)}"
        )
    tensorflow_datasets()
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, BUILDERS[name])(
        data_dir=os.path.expanduser(data_dir), file_format="array_record"
    )


def download_and_prepare(
    builder, sources: Sequence[str], max_file_mib: float = MAX_FILE_MIB
) -> None:
    """Writes a data set, which has another folder name until it is whole.

    Args:
        builder: As returned by `builder`.
        sources: Archives, folders and files to read.
        max_file_mib: Larger files of them are not read into memory.
    """
    builder.max_file_mib = max_file_mib  # TFDS hands builders only a folder.
    tfds = tensorflow_datasets()
    with tempfile.TemporaryDirectory() as scratch, claimed(builder.data_path.parent):
        config = tfds.download.DownloadConfig(manual_dir=_linked(sources, scratch))
        # TFDS would keep the first GiB, and so all of most data sets.
        shuffle = importlib.import_module("tensorflow_datasets.core.shuffle")
        shuffle.MAX_MEM_BUFFER_SIZE = _BUFFER_BYTES
        tfds.disable_progress_bar()  # `examples` shows one that knows the total.
        try:
            # TFDS announces a download of unknown size, even before an error.
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(
                    download_dir=scratch, download_config=config
                )
        except OSError:
            # Another process may have finished the same data set first.
            if not builder.is_prepared():
                raise
        finally:
            tfds.enable_progress_bar()


def _linked(sources: Sequence[str], scratch: str) -> str:
    """Makes one folder of the sources, which keep their names and stay where they are.

    TFDS hands builders a single folder.
    """
    folder = pathlib.Path(scratch) / "sources"
    for number, source in enumerate(sources):
        path = pathlib.Path(source).resolve()
        link = folder / str(number) / path.name
        link.parent.mkdir(parents=True)
        link.symlink_to(path)
    return str(folder)


def segmentation_info(builder, description: str, homepage: str):
    """Returns tfds.core.DatasetInfo of a segmentation set: image, mask and id.

    Image bytes are kept as they are; masks are PNGs of mode 'L' with raw ids. Records
    stay in the order of generation.
    """
    tfds = tensorflow_datasets()
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        homepage=homepage,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "mask": tfds.features.Image(shape=(None, None, 1)),
                "id": tfds.features.Text(),
            }
        ),
        disable_shuffling=True,
    )
