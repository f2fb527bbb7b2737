"""ImageNet (ILSVRC 2012), prepared by TFDS: 1,000 classes, ordered by WordNet id."""

from typing import Any

import numpy as np

from encnet_jax.data.sources.info import UNKNOWN_ID, DatasetInfo, voc_colours


def _open(info: DatasetInfo, data: Any) -> Any:
    from encnet_jax.data.pipelines.image_files import ImageFiles
    from encnet_jax.data.sources.decode import image_rules
    from encnet_jax.data.sources.tfds_images import TfdsImages

    return ImageFiles(info, TfdsImages(info, data.data_dir, image_rules(data)), data)


DATA_SET = DatasetInfo(
    name="imagenet2012",
    class_names=tuple(f"{i:04d}" for i in range(1000)),
    colours=voc_colours(1001)[1:],
    id_map=np.full(256, UNKNOWN_ID, np.uint8),  # There are no masks.
    splits=("train", "validation"),
    source="https://www.image-net.org",
    preparation="get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into "
    "DIR/downloads/manual, then run tfds build imagenet2012 --data_dir DIR "
    "--file_format array_record",
    task="classification",
    full_counts={"train": 1_281_167, "validation": 50_000},
    open_dataset=_open,
)
