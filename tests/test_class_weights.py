"""Class weights: the rules by hand, and the weights of a run."""

import json

import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax.config import Facts
from encnet_jax.data import Dataset
from encnet_jax.data.check import survey
from encnet_jax.data.check.class_weights import class_weights
from encnet_jax.data.check.facts import facts
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError
from encnet_jax.train import loop

# Of 13 classes those from 4 on never occur, 2 and 3 only in the second image.
MASKS = [
    np.asarray([[0, 0, 0, 1], [0, 0, 255, 255]], np.uint8),
    np.asarray([[0, 0, 2, 2], [3, 3, 3, 3]], np.uint8),
]


class Masks:
    def __init__(self):
        self.reads = 0

    def sizes(self):
        return {"train": 2}

    def example(self, split, index):
        self.reads += 1
        if MASKS[index] is None:
            raise UserError("b.png: cannot be decoded")
        return Example(str(index), np.zeros((2, 4, 3), np.uint8), MASKS[index])


@pytest.fixture
def dataset():
    config = config_lib.load("configs/quickstart.py:smoke")
    return Dataset(named_info("scenes"), Masks(), config.data)


def resolved(**fields):
    config = config_lib.load("configs/quickstart.py:smoke")
    config.update_from_flattened_dict({f"loss.{k}": v for k, v in fields.items()})
    return config_lib.resolve(config)


def saved_with(config, weights):
    """Returns the configuration with class weights, as read from a checkpoint."""
    config = config_lib.replaced(config, {"loss.class_weights": weights})
    return config_lib.from_dict(json.loads(config_lib.to_json(config)))


def test_class_weights_equal_a_calculation_by_hand(dataset):
    report = survey.check_split(dataset.source, "train")
    counts = report.pixels[:5], report.pixels_beside[:5]
    np.testing.assert_array_equal(counts, [[7, 1, 2, 4, 0], [14, 6, 8, 8, 0]])
    frequencies = [1 / 2, 1 / 6, 1 / 4, 1 / 2]  # Their median is 3 / 8.
    expected = [0.375 / f for f in frequencies] + [0.0]
    found = class_weights("median_frequency", *counts)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    rarity = 1 / np.sqrt(np.array([7, 1, 2, 4]) / 14)
    expected = [*(rarity / rarity.mean()), 0.0]
    found = class_weights("inverse_sqrt", *counts)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_are_counted_once_per_run(dataset, capsys):
    config = resolved(class_weighting="inverse_sqrt")
    first = facts(dataset, config.loss).class_weights
    assert len(first) == 13 and dataset.source.reads == 2
    assert "inverse_sqrt of train" in capsys.readouterr().out
    again = facts(dataset, config.loss, saved_with(config, first).loss).class_weights
    assert dataset.source.reads == 2 and again == first
    assert tuple(saved_with(config, first).loss.class_weights) == first


def test_another_rule_is_counted_again_and_differs(dataset):
    config = resolved(class_weighting="inverse_sqrt")
    saved = saved_with(config, facts(dataset, config.loss).class_weights)
    config = resolved(class_weighting="median_frequency")
    other = facts(dataset, config.loss, saved.loss).class_weights
    assert dataset.source.reads == 4 and other != tuple(saved.loss.class_weights)
    other = saved_with(config, other)
    assert "loss.class_weighting" in config_lib.first_difference(saved, other)


def test_without_rule_no_image_is_read(dataset):
    assert facts(dataset, resolved().loss) == Facts(2, ())
    assert dataset.source.reads == 0


def test_a_broken_image_stops_the_count(dataset, monkeypatch):
    monkeypatch.setitem(globals(), "MASKS", [MASKS[0], None])
    with pytest.raises(UserError, match="b.png: cannot be decoded"):
        facts(dataset, resolved(class_weighting="inverse_sqrt").loss)


def test_wrong_number_of_weights_leaves_no_folder(tmp_path):
    config = resolved(class_weights=(1.0, 2.0))
    with pytest.raises(UserError, match="2 numbers; expected one for each of the 13"):
        loop.train(config, str(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_weights": ("two",)}, "expected numbers from 0"),
        ({"class_weights": (1.0, -1.0)}, "expected numbers from 0"),
        ({"class_weighting": "median"}, "expected one of"),
        ({"label_smoothing": 1.0}, "loss.label_smoothing is 1.0; expected 0 or more"),
        ({"ohem_threshold": 1.5}, "loss.ohem_threshold is 1.5"),
        ({"ohem_min_kept": -1}, "loss.ohem_min_kept is -1; expected 0 to"),
        ({"focal_gamma": 2.0, "label_smoothing": 0.1}, "exclude each other"),
    ],
)
def test_wrong_fields_of_the_loss(fields, message):
    with pytest.raises(UserError, match=message):
        resolved(**fields)
