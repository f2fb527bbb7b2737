"""NYU Depth v2 with 13 classes, each of which merges one or more of the 40 classes.

Source: Couprie et al., ICLR 2013; the 13 groups are those of class13Mapping.mat
(github.com/ankurhanda/nyuv2-meta-data).
"""

import dataclasses

import numpy as np

from encnet_jax.data.sets import nyuv2
from encnet_jax.data.sources.info import UNKNOWN_ID, voc_colours
from encnet_jax.labels import IGNORE_LABEL

_GROUPS = {
    "bed": "bed",
    "books": "books",
    "ceiling": "ceiling",
    "chair": "chair",
    "floor": "floor, floor mat",
    "furniture": "cabinet, bookshelf, counter, shelves, dresser, refridgerator,"
    " night stand, otherfurniture",
    "objects": "pillow, mirror, clothes, paper, towel, shower curtain, box, whiteboard,"
    " person, toilet, sink, lamp, bathtub, bag, otherstructure, otherprop",
    "picture": "picture",
    "sofa": "sofa",
    "table": "table, desk",
    "tv": "television",
    "wall": "wall, door",
    "window": "window, blinds, curtain",
}
_ID_MAP = np.full(256, UNKNOWN_ID, np.uint8)
_ID_MAP[0] = IGNORE_LABEL
for _group, _members in enumerate(_GROUPS.values()):
    for _name in _members.split(", "):
        _ID_MAP[1 + nyuv2.DATA_SET.class_names.index(_name)] = _group

DATA_SET = dataclasses.replace(
    nyuv2.DATA_SET,
    name="nyuv2_13",
    class_names=tuple(_GROUPS),
    colours=voc_colours(14)[1:],
    id_map=_ID_MAP,
    stored_as="nyuv2",
    rule="13 groups of the 40 classes, unlabelled pixels (raw 0) are not counted",
)
