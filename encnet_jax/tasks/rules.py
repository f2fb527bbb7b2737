"""How each benchmark counts: what it reports beside mean IoU, under which rule."""

# Of every score: labelled pixels only, and the mean over all classes of the data set.
_BACKGROUND = "background is one of the classes, void pixels are not counted"
_RULES = {
    "ade20k": "unlabelled pixels (raw 0) are not counted; final score = (pixel accuracy"
    " + mean IoU) / 2",
    "pascal_context": "59 classes, background pixels are not counted;"
    " context60_published = context59 * 59 / 60, background counted as all wrong, as in"
    " the paper",
    "pascal_context60": "60 classes, background is trained and counted as one of them",
    "pascal_voc": _BACKGROUND,
    "coco_voc": _BACKGROUND,
}


def benchmark_scores(
    dataset: str, mean_iou: float, pixel_accuracy: float
) -> dict[str, float]:
    """Returns the scores that a benchmark reports under names of its own, in [0, 1].

    Args:
        dataset: name in the catalogue.
        mean_iou: over the data set's classes, in [0, 1].
        pixel_accuracy: in [0, 1].

    Source: the ADE20K benchmark's README; for PASCAL-Context the authors' answer to a
    question (PyTorch-Encoding issue 179): 52.6 * 59 / 60 = 51.7 %, as in the abstract.
    """
    if dataset == "ade20k":
        return {"final_score": (pixel_accuracy + mean_iou) / 2}
    if dataset == "pascal_context":
        return {"context59": mean_iou, "context60_published": mean_iou * 59 / 60}
    if dataset == "pascal_context60":
        return {"context60": mean_iou}
    return {}


def describe(dataset: str, absent_classes: str) -> str:
    """Returns the rule that a data set's scores follow, in words.

    Args:
        dataset: name in the catalogue.
        absent_classes: 'zero' or 'skip', see metrics.ConfusionMatrix.mean_iou.
    """
    rule = _RULES.get(dataset, "ignored pixels are not counted")
    absent = {"zero": "count as 0", "skip": "are left out of the mean"}[absent_classes]
    return f"{rule}; classes that never occur {absent}"
