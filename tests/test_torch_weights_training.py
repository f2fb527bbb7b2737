"""A training run on CamVid that starts from a converted backbone file, and says so."""

import jax
import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax import torch_weights
from encnet_jax.checkpoints import read
from encnet_jax.torch_weights import state_dicts
from encnet_jax.train import loop

pytestmark = [pytest.mark.golden, pytest.mark.slow]


def test_training_starts_from_a_converted_backbone(
    reference_dir, tmp_path, capsys, request, monkeypatch
):
    pytest.importorskip("tensorflow_datasets")
    from encnet_jax.data.prepare.__main__ import prepare

    monkeypatch.chdir(request.config.rootpath)
    source = reference_dir / "data" / "CamVid"
    prepare("camvid", source=str(source), data_dir=str(tmp_path / "data"))
    weights = tmp_path / "backbone.safetensors"
    config = config_lib.load("configs/camvid.py:tiny")
    config.data.data_dir = str(tmp_path / "data")
    config.data.crop_size = 64
    config.train.total_steps = 2
    config.eval.max_images = 4
    config.init_from = str(weights)
    config.optim.base_lr = 1e-9  # So small that the weights stay where they started.

    m = config_lib.resolve(config).model
    rng = np.random.default_rng(0)
    shapes = state_dicts.variable_shapes(m, 11)
    published = jax.tree.map(
        lambda x: rng.uniform(0.01, 0.1, x.shape).astype(np.float32), shapes
    )
    torch_weights.write_state_dict(
        weights,
        torch_weights.to_state_dict(published, m, torch_weights.find("deep_stem")),
    )
    loop.train(config, str(tmp_path / "run"))

    lines = capsys.readouterr().out.splitlines()
    assert f"{weights}: weights of {torch_weights.find('deep_stem').title}" in lines
    assert "backbone: loaded all 70 arrays" in lines
    assert "head: randomly initialised; not in the file" in lines
    variables, _ = read.restore_variables(str(tmp_path / "run"))
    jax.tree.map(
        lambda trained, start: np.testing.assert_allclose(trained, start, atol=1e-6),
        variables["params"]["backbone"],
        published["params"]["backbone"],
    )
