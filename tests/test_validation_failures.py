"""A validation that fails costs no checkpoint, whatever it fails with."""

import errno
import json

import numpy as np
import pytest
from etils import epath
from PIL import Image
from smoke_runs import smoke_config

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import integrity, read
from encnet_jax.config import resolving
from encnet_jax.errors import UserError
from encnet_jax.train import loop
from encnet_jax.train.validate import Validator

FAILURES = {
    1: (UserError("3.jpg: a CMYK image"), "3.jpg: a CMYK image"),
    2: (OSError(errno.EIO, "Input/output error", "3.jpg"), "Input/output error"),
    3: (MemoryError(), "MemoryError"),
    5: (RuntimeError("RESOURCE_EXHAUSTED: 8 GiB"), "RESOURCE_EXHAUSTED: 8 GiB"),
}


def test_the_run_continues_and_ends_with_an_error(tmp_path, monkeypatch, capsys):
    scored = Validator.score

    def score(self, variables, step):
        if step in FAILURES:
            raise FAILURES[step][0]
        return scored(self, variables, step)

    monkeypatch.setattr(Validator, "score", score)
    monkeypatch.setattr(resolving, "steps_per_epoch", lambda *_: 1)
    config = smoke_config(**{"train.total_steps": 5, "train.keep_checkpoints": 5})
    config.train.eval_every_epochs = 1
    with pytest.raises(UserError, match="failed at step 1, 2, 3, 5, so .*8 GiB"):
        loop.train(config, str(tmp_path))
    shown = capsys.readouterr()
    for step, (_, says) in FAILURES.items():
        assert f"failed at step {step}, so the checkpoint has no score" in shown.out
        assert says in shown.out
    assert "trained 5 steps" in shown.out
    assert integrity.steps(epath.Path(tmp_path / "checkpoints")) == [1, 2, 3, 4, 5]
    assert read.find_step(str(tmp_path)) == 5
    assert read.find_step(str(tmp_path), "best") == 4


def test_a_run_without_better_scores_stops(tmp_path, monkeypatch, capsys):
    scores = iter([0.1, 0.4, 0.3, 0.4, 0.2, 0.9])
    monkeypatch.setattr(Validator, "score", lambda *_: next(scores))
    monkeypatch.setattr(resolving, "steps_per_epoch", lambda *_: 1)
    config = smoke_config(**{"train.total_steps": 9})
    config.train.eval_every_epochs, config.train.patience = 1, 2
    loop.train(config, str(tmp_path))
    assert "no better score since step 2" in capsys.readouterr().out
    assert read.find_step(str(tmp_path)) == 4
    assert read.find_step(str(tmp_path), "best") == 4  # The newest of equals.


def test_an_error_of_the_program_is_raised_after_the_state_is_saved(
    tmp_path, monkeypatch
):
    def score(self, variables, step):
        raise AssertionError("a bug")

    monkeypatch.setattr(Validator, "score", score)
    with pytest.raises(AssertionError, match="a bug"):
        loop.train(smoke_config(), str(tmp_path))
    assert read.find_step(str(tmp_path)) == 4


def folder_config(root, modes):
    """Returns a configuration of a folder whose validation images have these modes."""
    for split, kinds in (("train", ["RGB"] * 8), ("val", modes)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i, mode in enumerate(kinds):
            pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3))
            image = Image.fromarray(pixels.astype(np.uint8))
            image.convert(mode).save(root / split / "images" / f"{i}.jpg")
            mask = Image.fromarray((pixels[..., 0] // 128).astype(np.uint8))
            mask.save(root / split / "masks" / f"{i}.png")
    config = config_lib.load("configs/folder.py:tiny")
    config.data.folder.images = f"{root}/{{split}}/images"
    config.data.folder.masks = f"{root}/{{split}}/masks"
    config.data.folder.class_names = ("a", "b")
    config.data.reader, config.data.crop_size = "arrays", 32
    config.train.batch_size, config.train.total_steps = 8, 1
    return config


def test_validation_images_are_checked_before_the_first_step(tmp_path):
    config = folder_config(tmp_path / "d", ["RGB", "CMYK", "RGB", "CMYK"])
    config.data.max_unreadable_share = 0.5
    with pytest.raises(UserError, match=r"2 of 4 validation .*1\.jpg.*3\.jpg.*") as e:
        loop.train(config, str(tmp_path / "run"))
    assert "change data.val_split ('val')" in str(e.value)
    assert not (tmp_path / "run").exists()


def test_only_the_used_validation_images_are_checked(tmp_path):
    from encnet_jax.train import prepared

    config = folder_config(tmp_path / "d", ["RGB", "CMYK"])
    config.eval.max_images = 1
    _, _, sizes = prepared.prepared(config)
    assert json.dumps(sizes) == '{"images of train": 8, "images of val": 2}'


def test_masks_with_a_single_class_are_refused(tmp_path):
    config = folder_config(tmp_path / "d", ["RGB"])
    config.data.folder.class_names = ("crack",)
    config.data.folder.ignore_ids = (1,)
    with pytest.raises(UserError, match=r"only class is 'crack'.*'background', 'cra"):
        loop.train(config, str(tmp_path / "run"))
