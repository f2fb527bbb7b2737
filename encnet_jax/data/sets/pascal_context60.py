"""PASCAL-Context with 60 classes: background (train id 0) and 59 other classes."""

import dataclasses

import numpy as np

from encnet_jax.data.sets import pascal_context
from encnet_jax.data.sources.info import consecutive_ids, voc_colours


def _scores(mean_iou: float, accuracy: float, iou: np.ndarray) -> dict[str, float]:
    return {"context60": mean_iou}


DATA_SET = dataclasses.replace(
    pascal_context.DATA_SET,
    name="pascal_context60",
    class_names=("background", *pascal_context.DATA_SET.class_names),
    colours=voc_colours(60),
    id_map=consecutive_ids(60),
    stored_as="pascal_context",
    rule="60 classes, background is trained and counted as one of them",
    scores=_scores,
)
