"""Scores of a generated submission by the benchmark's own cityscapesscripts.

In an environment with cityscapesscripts 2.3.0:

    python tests/cityscapes_scores.py results.zip

evaluates the submission that tests/test_submission.py writes against generated masks,
and prints the numbers below.
"""

import os
import pathlib
import sys
import tempfile
import zipfile

import numpy as np
from PIL import Image

NAMES = ("berlin_000000_000019", "berlin_000001_000019", "munich_000173_000019")
SIZE = (64, 96)
# Recorded from cityscapesscripts 2.3.0 with Python 3.11 and NumPy 2.4.6.
MEAN_IOU = 0.5081266528741053
CONFUSION = """
269 10 4 3 9 8 5 5 10 8 8 4 8 12 3 9 4 2 3
8 385 5 11 10 7 8 16 8 14 14 11 11 9 16 10 7 10 16
3 10 348 6 9 8 14 14 13 13 8 9 8 11 8 6 14 4 6
6 6 5 257 14 3 3 4 7 8 8 11 6 7 9 7 11 3 9
6 14 15 6 439 15 11 14 8 13 12 8 12 17 9 8 15 10 8
21 13 19 20 17 661 24 18 14 15 15 17 14 21 16 14 14 14 13
7 4 6 14 11 6 310 5 6 11 7 10 3 5 8 6 12 6 11
11 13 11 11 13 9 16 439 8 8 10 19 10 6 7 18 11 8 12
9 9 10 14 13 8 14 7 395 9 8 13 8 16 12 10 6 8 7
10 8 13 7 10 4 19 14 10 390 14 5 8 15 11 11 9 16 2
12 17 9 13 21 10 5 14 12 7 412 14 10 11 15 18 11 11 18
12 13 18 14 9 15 9 14 11 13 13 428 7 11 13 13 7 6 14
6 20 10 10 16 7 8 5 5 5 12 6 343 7 8 16 8 13 7
9 9 9 9 7 11 6 10 12 9 7 9 8 357 10 7 3 14 6
7 6 18 7 9 9 14 12 12 15 9 7 8 7 339 8 8 9 8
9 12 8 8 16 16 14 12 15 12 11 14 12 18 11 474 13 19 10
9 7 8 11 6 8 14 13 10 6 7 8 10 8 11 9 286 6 11
8 13 9 9 10 11 13 5 6 8 11 4 9 11 4 4 15 355 7
9 8 6 10 11 9 8 13 8 6 13 4 10 8 7 10 6 12 354
"""  # Pixels: a row for each label, a column for each prediction.


def label_ids(number: int) -> np.ndarray:
    """Returns a mask as published, uint8[H, W] of label ids 0..33, in squares."""
    rng = np.random.default_rng(number)
    squares = rng.integers(0, 34, (SIZE[0] // 8, SIZE[1] // 8))
    return squares.astype(np.uint8).repeat(8, 0).repeat(8, 1)


def predicted(number: int, train_ids: np.ndarray) -> np.ndarray:
    """Returns a prediction uint8[H, W] of train ids 0..18, two thirds of them right.

    Args:
        number: of the image.
        train_ids: uint8[H, W], its label; ids above 18 are ignored.
    """
    rng = np.random.default_rng(100 + number)
    guess = rng.integers(0, 19, SIZE)
    right = (rng.random(SIZE) < 2 / 3) & (train_ids < 19)
    return np.where(right, train_ids, guess).astype(np.uint8)


def main(archive: str) -> None:
    """Prints the scores of a submission."""
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        os.environ["CITYSCAPES_DATASET"] = folder
        os.environ["CITYSCAPES_RESULTS"] = str(base / "results")
        with zipfile.ZipFile(archive) as submission:
            submission.extractall(base / "results")
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as kit

        masks = []
        for number, name in enumerate(NAMES):
            masks.append(base / f"gtFine/test/{name}_gtFine_labelIds.png")
            masks[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label_ids(number)).save(masks[-1])
        kit.args.evalInstLevelScore, kit.args.quiet = False, True
        kit.args.JSONOutput = False
        found = [kit.getPrediction(kit.args, str(mask)) for mask in masks]
        results = kit.evaluateImgLists(found, [str(m) for m in masks], kit.args)
        print(f"MEAN_IOU = {float(results['averageScoreClasses'])!r}")
        scored = [label.id for label in kit.labels if not label.ignoreInEval]
        matrix = np.asarray(results["confMatrix"])[np.ix_(scored, scored)]
        print("\n".join(" ".join(map(str, row)) for row in matrix))


if __name__ == "__main__":
    main(sys.argv[1])
