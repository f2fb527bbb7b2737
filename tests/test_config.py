"""Configurations: every file builds, mistakes are told, resolution is frozen."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from encnet_jax import cli, models, tasks
from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError

CONFIGS = sorted(
    path
    for path in pathlib.Path("configs").glob("*.py")
    if path.stem not in ("default", "folder")
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("suffix", ["", ":smoke"])
def test_every_configuration_builds(path, suffix):
    config = config_lib.resolve(
        config_lib.load(f"{path}{suffix}"), config_lib.Facts(1000)
    )
    num_classes = dataset_info(config.data).num_classes
    model = tasks.of(config).build_model(num_classes)
    size = config.data.crop_size
    outputs = jax.eval_shape(
        lambda key: model.init_with_output(
            key, jnp.zeros((1, size, size, 3)), train=False
        ),
        jax.random.key(0),
    )[0]
    assert outputs["logits"].shape[-1] == num_classes
    assert config.train.total_steps > 0
    if suffix:
        assert config.train.total_steps == 4


def test_the_folder_configuration_requires_its_fields():
    config = config_lib.load("configs/folder.py")
    folder = config.data.folder
    for field, value in (("images", "a"), ("masks", "b"), ("class_names", ("x", "y"))):
        folder[field] = type(value)()
    for field, value in (("images", "a"), ("masks", "b"), ("class_names", ("x", "y"))):
        with pytest.raises(UserError, match=f"but data.folder.{field} is empty"):
            dataset_info(config.data)
        folder[field] = value
    folder.colours = ("#102030", "#fFfe00")
    assert dataset_info(config.data).colours.tolist() == [[16, 32, 48], [255, 254, 0]]
    for colours, found in ((("red", "#000000"), "'red'"), (("#000000",), "1 colours")):
        folder.colours = colours
        with pytest.raises(UserError, match=f"{found}; expected one colour such as"):
            dataset_info(config.data)


def test_data_next_to_a_configuration_are_found(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from encnet_jax.config import defaults\n"
        "def get_config():\n"
        "    config = defaults.get_config()\n"
        "    config.data.folder.images = 'my/{split}/images'\n"
        "    config.data.folder.masks = 'gone/{split}/masks'\n"
        "    return config\n"
    )
    (tmp_path / "my" / "train" / "images").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = config_lib.load("../mine.py").data.folder
    assert folder.images == f"{tmp_path}/my/{{split}}/images"
    assert folder.masks == "gone/{split}/masks"
    monkeypatch.chdir(tmp_path)
    assert config_lib.load("mine.py").data.folder.images == "my/{split}/images"


def test_architectures_set_only_fields_that_are_not_given():
    config = config_lib.load("configs/ade20k.py:release")
    config.model.gate = "scale"
    model = config_lib.resolve(config).model
    assert (model.gate, model.code_pooling, model.aux) == ("scale", "mean", "fcn")
    paper = config_lib.resolve(config_lib.load("configs/ade20k.py:paper")).model
    assert (paper.gate, paper.code_pooling, paper.aux) == ("scale", "sum", "context")
    tuned = config_lib.resolve(config_lib.load("configs/ade20k.py")).model
    assert (tuned.gate, tuned.code_pooling) == ("residual", "mean")


def test_models_that_differ_from_their_architecture():
    def model(arguments):
        return config_lib.resolve(
            config_lib.load(f"configs/ade20k.py:{arguments}")
        ).model

    assert model("fcn").aux == "none"
    assert model("release,fcn").aux == "fcn"
    assert model("release,deeplabv3").head_channels == 256
    assert model("mmseg,deeplabv3").head_channels == 512
    mmseg = model("mmseg")
    assert (mmseg.stem_width, mmseg.align_corners) == (32, False)
    assert model("mmseg,tiny").stem_width == 8


def test_an_argument_of_a_configuration_sets_its_own_fields():
    full = config_lib.load("configs/camvid.py:resnet50")
    assert (full.model.backbone, full.data.input_scale) == ("resnet50", 1.0)
    assert config_lib.load("configs/camvid.py").data.input_scale == 0.5


def test_lateral_fusion_requires_stages_of_equal_size():
    config = config_lib.load("configs/ade20k.py:release")
    config.model.lateral, config.model.output_stride = True, 16
    with pytest.raises(UserError, match="is 16; expected 8, because model.lateral"):
        config_lib.resolve(config)


def test_steps_from_epochs():
    config = config_lib.load("configs/ade20k.py")
    # 20,210 images in batches of 16, the last one dropped, 120 times.
    assert (
        config_lib.resolve(config, config_lib.Facts(20210)).train.total_steps
        == 1263 * 120
    )
    with pytest.raises(
        UserError, match="train.batch_size is 16; expected 1 to 10, the number of"
    ):
        config_lib.resolve(config, config_lib.Facts(10))


def test_facts_determine_steps_and_class_weights():
    config = config_lib.load("configs/ade20k.py")
    config.train.epochs, config.train.eval_every_epochs = 1.4999, 0.5
    config.loss.class_weighting = "median_frequency"
    facts = config_lib.Facts(20210, (0.5, 2.0))
    found = config_lib.resolve(config, facts)
    assert (found.train.total_steps, found.train.epochs) == (1894, 1.4999)
    assert found.train.eval_every_steps == 632  # round(0.5 * 1263), to even
    assert found.loss.class_weights == (0.5, 2.0)
    assert "eval_every_steps" not in config_lib.to_json(found)
    assert config_lib.resolve(found, facts) == found
    config.train.total_steps = 2526
    assert config_lib.resolve(config, facts).train.epochs == 2.0
    config.loss.class_weights = (1.0, 3.0)
    assert config_lib.resolve(config, facts).loss.class_weights == (1.0, 3.0)


def test_scores_take_a_tenth_of_the_training_unless_the_interval_is_set():
    config = config_lib.load("configs/ade20k.py")
    assert config.train.eval_every_epochs is None
    config.data.crop_size, config.train.batch_size = 100, 10

    def every(**fields):
        found = config_lib.resolve(config, config_lib.Facts(50, **fields))
        assert found.train.eval_every_epochs == config.train.eval_every_epochs
        return found.train.eval_every_steps

    assert every() == every(scored_pixels=10_000) == 5  # An epoch.
    # 60 forward passes of a crop are 20 training images; 200 take ten times as long.
    assert every(scored_pixels=60 * 100 * 100) == 20
    config.train.eval_every_epochs = 0.4
    assert every(scored_pixels=60 * 100 * 100) == 2


def test_resolved_sections_are_typed_frozen_and_compare():
    config = config_lib.load("configs/quickstart.py:smoke,duc")
    found = config_lib.resolve(config)
    assert isinstance(found.model, config_lib.ModelConfig)
    assert found.model.duc.rates == (6, 12, 18, 24)
    assert found == config_lib.resolve(config) == config_lib.resolve(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.model.name = "fcn"
    other = config_lib.replaced(found, {"model.duc.cell": 4, "eval.scales": [1.0]})
    assert (other.model.duc.cell, other.eval.scales) == (4, (1.0,))
    assert other != found and found.model.duc.cell == 2
    assert config_lib.opened(other).model.duc.cell == 4


def test_json_round_trip_and_first_difference():
    config = config_lib.resolve(
        config_lib.load("configs/camvid.py"), config_lib.Facts(367)
    )
    same = config_lib.from_dict(json.loads(config_lib.to_json(config)))
    assert config_lib.first_difference(config, same) is None
    same.eval.bucket = 32
    same.data.data_dir = "elsewhere"
    assert config_lib.first_difference(config, same) is None
    same.optim.momentum = 0.8
    assert (
        config_lib.first_difference(config, same)
        == "optim.momentum was 0.9 and is now 0.8"
    )
    same.model.name, same.model.aux_channels = "fcn", 7  # The second follows.
    difference = config_lib.first_difference(config, same)
    assert difference == "model.name was 'encnet' and is now 'fcn'"


@pytest.fixture
def run_train(monkeypatch):
    """Runs train.py in this process, which JAX would not let join others any more."""
    monkeypatch.setattr(cli, "join_processes", lambda values: None)

    def run(*flags):
        import train

        return cli.run(train.main, ["train.py", *flags])

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "missing: --config; --help"),
        (["--config", "configs/nope.py"], "configs/nope.py"),
        (["--config", "configs/camvid.py:wat"], "unknown argument 'wat'"),
        (["--config", "configs/camvid.py:papr"], "did you mean 'paper'?"),
        (["--config", "configs/camvid.py", "--config.optim.lr=1"], "lr"),
        (
            ["--config", "configs/camvid.py", "--config.optim.base_lrr=1"],
            "no field 'base_lrr' in the configuration; did you mean 'base_lr'?",
        ),
        (
            ["--config", "configs/camvid.py", "--config.optim.base_lr=x"],
            "--config.optim.base_lr is 'x'; expected a number",
        ),
        (
            ["--config", "configs/camvid.py", "--config.train.batch_size=abc"],
            "--config.train.batch_size is 'abc'; expected an integer",
        ),
        (
            ["--config", "configs/camvid.py", "--config.eval.flip=maybe"],
            "--config.eval.flip is 'maybe'; expected true or false",
        ),
        (
            ["--config", "configs/camvid.py", "--config.eval.scales=1 two"],
            "--config.eval.scales is '1 two'; expected values in brackets, such as",
        ),
        (
            ["--config", "configs/camvid.py", "--config.eval.scales=two"],
            "eval.scales is ('two',); expected one or more numbers above 0",
        ),
        (
            ["--config", "configs/camvid.py", "--peers_timeout_s=0"],
            "--peers_timeout_s is '0'; expected number >= 1.0",
        ),
        (["--config", "configs/camvid.py", "--config.model.gate=x"], "expected one of"),
        (
            ["--config", "configs/camvid.py", "--config.train.batch_size=0"],
            "batch_size",
        ),
        (["--config", "configs/camvid.py", "--nope"], "nope"),
        (["--config", "configs/camvid.py", "stray"], "stray"),
        (
            ["--config", "configs/ade20k.py", "--config.data.data_dir=nowhere"],
            "encnet_jax.data.prepare ade20k",
        ),
    ],
)
def test_mistakes_get_one_line_and_status_2(flags, message, capsys, run_train):
    assert run_train(*flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.crop_size": 476}, "data.crop_size is 476, .* multiple of 8, .* 472 or"),
        ({"eval.bucket": 20}, "eval.bucket is 20, .* such as 16 or 24"),
        ({"eval.crop_size": 20}, "eval.crop_size is 20, .* such as 16 or 24"),
        ({"model.duc.cell": 3}, "model.duc.cell is 3; expected one of: 1, 2, 4"),
        ({"model.duc.rates": (6, 6)}, r"model.duc.rates is \(6, 6\); expected one or"),
        ({"model.duc.rates": (0,)}, r"model.duc.rates is \(0,\); expected one or more"),
        ({"model.dilation": "1,2/3"}, "model.dilation lists 2 and 1 rates"),
        ({"model.mask_padding": True}, "model.mask_padding is True, .* to False"),
        ({"model.pixels": "raw"}, "model.pixels is 'raw'; expected one of: unit, mean"),
        ({"loss.labels": "voted"}, "expected one of: upsampled, thinned"),
    ],
)
def test_invalid_rates_cells_and_sides_are_reported_in_one_line(fields, message):
    config = defaults.get_config()
    config.update_from_flattened_dict({"model.name": "duc", **fields})
    with pytest.raises(UserError, match=message) as error:
        config_lib.resolve(config)
    assert "\n" not in str(error.value)


def test_a_duc_head_sets_how_labels_are_compared_with_logits():
    config = defaults.get_config()
    config.model.name = "duc"
    found = config_lib.resolve(config)
    assert found.loss.labels == "thinned"
    assert (found.model.align_corners, found.model.aux) == (False, "none")
    assert models.logits_stride(found.model) == 2
    config.model.name = "fcn"
    found = config_lib.resolve(config)
    assert found.loss.labels == "upsampled"
    assert models.logits_stride(found.model) == 8


def test_a_saved_configuration_is_read_back():
    """Fields that are computed from the data may have no value."""
    facts = config_lib.Facts(100)
    found = config_lib.resolve(config_lib.load("configs/ade20k.py"), facts)
    values = json.loads(config_lib.to_json(found))
    assert values["train"]["eval_every_epochs"] is None
    assert config_lib.resolve(config_lib.from_saved(values, "x"), facts) == found
    values["train"]["epochs"] = None
    with pytest.raises(UserError, match="train.epochs is null"):
        config_lib.from_saved(values, "x")


def test_saved_runs_get_defaults_for_new_fields_or_are_refused():
    resolved = config_lib.resolve(config_lib.load("configs/quickstart.py"))
    saved = json.loads(config_lib.to_json(resolved))
    for section, field in (("model", "dilation"), ("model", "duc"), ("loss", "labels")):
        del saved[section][field]
    with pytest.raises(UserError) as error:
        config_lib.completed(config_lib.from_dict(saved))
    assert str(error.value) == (
        "the saved configuration has no field loss.labels; for a run of an older"
        " version, use commit aeb6f69 of encnet_jax"
    )
    saved["loss"]["labels"] = "upsampled"
    completed = config_lib.completed(config_lib.from_dict(saved))
    assert config_lib.first_difference(completed, resolved) is None
    assert completed.model.dilation == "plain" and completed.model.duc.cell == 2
    saved["loss"]["wobble"] = 1
    with pytest.raises(UserError, match="unknown field loss.wobble.*commit aeb6f69"):
        config_lib.completed(config_lib.from_dict(saved))


def test_fields_of_absent_networks_may_differ():
    def run(name, channels):
        config = config_lib.load(f"configs/quickstart.py:{name}")
        config.model.crf.hidden_channels = channels
        return config_lib.resolve(config)

    assert config_lib.first_difference(run("encnet", 32), run("encnet", 7)) is None
    runs = run("piecewise_crf", 32), run("piecewise_crf", 7)
    assert "model.crf.hidden_channels was 32" in config_lib.first_difference(*runs)
