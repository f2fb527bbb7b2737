"""The TFDS builders, one file a data set; TFDS is imported only when one is used."""

import importlib
import os
import tempfile

from encnet_jax.data.catalog import DatasetInfo
from encnet_jax.data.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

_BUILDERS = {
    "camvid": ("encnet_jax.data.builders.camvid", "CamVid"),
    "scenes": ("encnet_jax.data.builders.scenes", "Scenes"),
}
GENERATED = ("scenes",)  # Prepared on first use, without any source.


def builder(info: DatasetInfo, data_dir: str):
    """Returns the TFDS builder of a data set, prepared or not.

    Raises:
        UserError: the data set cannot be prepared by this version.
    """
    if info.name not in _BUILDERS:
        raise UserError(
            f"{info.name} is not prepared in {data_dir}, and this version can prepare "
            f"only {', '.join(sorted(_BUILDERS))}; with a version that can, "
            f"{info.preparation}"
        )
    tensorflow_datasets()
    module, cls = _BUILDERS[info.name]
    return getattr(importlib.import_module(module), cls)(
        data_dir=os.path.expanduser(data_dir), file_format="array_record"
    )


def prepared(info: DatasetInfo, data_dir: str):
    """Returns the builder of a prepared data set, preparing generated ones.

    Raises:
        UserError: it is not prepared in data_dir, or this version cannot prepare it.
    """
    found = builder(info, data_dir)
    if not found.is_prepared() and info.name in GENERATED:
        download_and_prepare(found)
    if not found.is_prepared():
        raise UserError(
            f"{info.name} is not prepared: found no {found.data_path}, wanted a data "
            f"set there; {info.preparation.replace(' DIR', f' {data_dir}')}"
        )
    return found


def download_and_prepare(builder, source: str | None = None) -> None:
    """Writes a data set; until it is whole it lies in a folder of another name.

    Args:
        builder: As returned by `builder`.
        source: The folder to read from, for data sets that are not generated.
    """
    tfds = tensorflow_datasets()
    config = tfds.download.DownloadConfig(manual_dir=source)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            builder.download_and_prepare(download_dir=scratch, download_config=config)
        except OSError:
            # Another process may have finished the same data set first.
            if not builder.is_prepared():
                raise


def skip_decoding(builder) -> dict:
    """Returns TFDS decoders that leave images and masks encoded."""
    tfds = tensorflow_datasets()
    skip = tfds.decode.SkipDecoding()
    return {name: skip for name in ("image", "mask") if name in builder.info.features}


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
