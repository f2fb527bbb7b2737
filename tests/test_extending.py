"""Members of registries that a configuration file or a test defines, used by name."""

import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax import models, torch_weights
from encnet_jax.config import table
from encnet_jax.data.sets import DATA_SETS
from encnet_jax.errors import UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.loading import Selection
from encnet_jax.fields import Field, between
from encnet_jax.losses import LOSSES
from encnet_jax.models import HEADS
from encnet_jax.report import events
from encnet_jax.scoring.protocols import PROTOCOLS
from encnet_jax.torch_weights.state_dicts import variable_shapes

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "extending.md"
REGISTRIES = (*table.REGISTRIES.values(), DATA_SETS)


@pytest.fixture(scope="module")
def registries():
    """Removes what tests of this module register."""
    before = [dict(registry._entries) for registry in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)


@pytest.fixture(scope="module")
def page(registries, tmp_path_factory):
    """Returns the configuration file of docs/extending.md."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("page") / "mine.py"
    path.write_text("\n\n".join(blocks))
    return path


@pytest.fixture(scope="module")
def run(page):
    """Returns the folder of a run that trained with the file."""
    workdir = page.parent / "run"
    flags = [f"--config={page}", f"--workdir={workdir}", "--config.model.wide.rate=4"]
    config_lib.load(str(page))  # Registers its parts in this process, too.
    # Another process: a run joins others before JAX starts.
    command = [sys.executable, "train.py", *flags]
    done = subprocess.run(command, cwd=PAGE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return workdir


def test_the_page_trains_its_head_backbone_loss_and_data_set_by_name(run):
    saved = json.loads((run / "config.json").read_text())
    assert saved["model"]["wide"] == {"rate": 4}
    assert (saved["data"]["name"], saved["model"]["backbone"]) == ("halves", "plain")
    scalars = events.read_scalars(str(run))
    # Two classes: the entropy is at most log 2, and less once something is learned.
    entropy = scalars["train/loss_entropy"]
    assert all(0 < value <= np.log(2) + 1e-6 for value in entropy.values())
    assert {key for key in scalars if "loss_" in key} == {
        "train/loss_entropy",
        "train/loss_pixel",
    }
    for step, loss in scalars["train/loss"].items():
        expected = scalars["train/loss_pixel"][step] + 0.1 * entropy[step]
        assert loss == pytest.approx(expected, rel=1e-5)


def test_the_page_scores_under_its_protocol_and_reports_its_field(run):
    report = run_lib.evaluate_run(str(run), Selection(split="val"))
    assert report["protocol"] == {"name": "mirrored", "bucket": 64}
    assert report["images"] == 4 and report["pixels"] == 4 * 64 * 64
    mirrored = report["val/mirrored/pixel_accuracy"]
    fields = {"eval.scales": (1.0,), "eval.flip": True}
    same = run_lib.evaluate_run(
        str(run), Selection(split="val", protocol="multiscale", fields=fields)
    )
    assert mirrored == same["val/multiscale/pixel_accuracy"]


def test_weights_of_the_page_s_family_are_imported(page):
    config = config_lib.resolve(config_lib.load(str(page)))
    m = config.model
    family = torch_weights.find("plain_torch")
    zeros = jax.tree.map(lambda x: np.zeros(x.shape), variable_shapes(m, 2))
    names = torch_weights.to_state_dict(zeros, m, family)
    rng = np.random.default_rng(0)
    state_dict = {name: rng.uniform(1, 2, x.shape) for name, x in names.items()}
    found = torch_weights.convert(state_dict, m, 2)["params"]["backbone"]
    assert len(state_dict) == 5 * 6
    assert torch_weights.recognise(state_dict).name == "plain_torch"
    np.testing.assert_array_equal(
        found["stage4"]["conv"]["kernel"],
        state_dict["stage4.conv.weight"].transpose(2, 3, 1, 0).astype(np.float32),
    )


def test_a_field_of_a_member_is_checked_like_all_others(page):
    config = config_lib.load(str(page))
    config.model.wide.rate = 0
    with pytest.raises(UserError, match="model.wide.rate is 0; expected 1 to 64"):
        config_lib.resolve(config)


def test_a_configuration_file_may_be_loaded_twice_but_not_reuse_a_name(page):
    config_lib.load(str(page))
    message = "the head 'encnet' is already registered"
    with pytest.raises(UserError, match=message):
        HEADS.register("encnet", lambda m, num_classes: None)


def test_excluded_fields_of_a_term_are_refused(registries):
    weight = Field(0.0, between(0, 1), "Weight.")
    LOSSES.register(
        "mine",
        lambda inputs: jnp.zeros(()),
        weight="mine_weight",
        fields={"loss.mine_weight": weight},
        excludes=(("loss.mine_weight", "loss.dice_weight"),),
    )
    config = config_lib.load("configs/quickstart.py")
    config.loss.mine_weight, config.loss.dice_weight = 0.5, 0.5
    with pytest.raises(
        UserError, match="loss.mine_weight and loss.dice_weight exclude each other"
    ):
        config_lib.resolve(config)


def test_a_term_of_weight_0_is_not_computed(registries):
    def fails(inputs):
        raise AssertionError("computed")

    field = {"loss.off_weight": Field(0.0, between(0, 1), "Weight.")}
    LOSSES.register("off", fails, weight="off_weight", fields=field)
    config = config_lib.resolve(config_lib.load("configs/quickstart.py"))
    from encnet_jax.losses import network_loss

    outputs = {"logits": jnp.zeros((1, 4, 4, 3)), "se_logits": jnp.zeros((1, 3))}
    labels = jnp.zeros((1, 4, 4), jnp.uint8)
    loss, terms = network_loss(outputs, labels, model=config.model, loss=config.loss)
    assert terms.keys() == {"loss_pixel", "loss_se"}
    expected = np.log(3) + config.loss.se_weight * np.log(2)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_members_of_the_package_declare_what_others_read():
    for name in models.BACKBONES:
        facts = models.BACKBONES.registration(name).facts
        assert len(facts["blocks"]) == 4 and "channels" in facts, name
    for name in HEADS:
        terms = HEADS.registration(name).facts.get("loss_terms", ())
        assert set(terms) <= set(LOSSES), name
    assert set(PROTOCOLS) >= {"single", "multiscale", "release", "centre_crop"}
