"""A piecewise CRF from its first step to refined scores, with every option on."""

import json

import pytest

from encnet_jax import config as config_lib
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate import search as refine
from encnet_jax.evaluate.loading import Selection
from encnet_jax.evaluate.refine import refine_fields
from encnet_jax.report import events
from encnet_jax.scoring.protocols import dense_refined
from encnet_jax.train import loop

pytestmark = pytest.mark.slow


def make_config(total_steps):
    config = config_lib.load("configs/quickstart.py:piecewise_crf,smoke")
    config.model.head_channels = config.model.crf.hidden_channels = 8
    config.model.stem_width = config.model.crf.refine = 4
    config.data.crop_size = 48
    config.train.total_steps = total_steps
    config.train.log_every_steps = 1
    config.train.num_pictures = 0
    config.eval.max_images = 2
    config.optim.ema_decay = 0.5
    config.model.remat, config.model.dtype = True, "bfloat16"
    return config


def test_trains_scores_and_refines(tmp_path):
    workdir = str(tmp_path / "run")
    loop.train(make_config(2), workdir)
    scalars = events.read_scalars(workdir)
    terms = ("loss_unary", "loss_surrounding", "loss_above_below", "loss_refined")
    for name in terms:
        values = scalars[f"train/{name}"]
        assert values.keys() == {1, 2} and all(v > 0 for v in values.values())
    selection = Selection(protocol="multiscale")
    plain = run_lib.evaluate_run(workdir, selection)
    assert plain["images"] == 2 and plain["pixels"] == 2 * 192 * 192
    refine.main(["refine", workdir, "--number", "8", "--rounds", "1"])
    found = json.loads((tmp_path / "run" / "refine.json").read_text())
    start = dense_refined.params_of(make_config(2).eval.dense)._asdict()
    # In one round each is tried at half and at twice its value.
    assert all(found[name] / start[name] in (0.5, 1, 2) for name in start)
    fields = refine_fields(f"{workdir}/refine.json")
    refined = run_lib.evaluate_run(workdir, Selection(fields=fields))
    assert refined["protocol"]["dense.bilateral_px"] == found["bilateral_px"]
    assert refined["pixels"] == plain["pixels"]
