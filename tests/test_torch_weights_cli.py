"""python -m encnet_jax.torch_weights import and export, on a tiny network."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from encnet_jax import cli, torch_weights
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.data import dataset_info
from encnet_jax.evaluate import run as run_lib
from encnet_jax.pods import workdir
from encnet_jax.torch_weights import state_dicts
from encnet_jax.torch_weights.__main__ import main

CONFIG = "configs/quickstart.py:release,smoke"


@pytest.fixture
def run(monkeypatch, request, capsys):
    """Runs a command line in the project's folder: (exit status, output, errors)."""
    monkeypatch.chdir(request.config.rootpath)

    def call(*arguments):
        status = cli.run(main, ["torch_weights", *map(str, arguments)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@pytest.fixture
def state_dict(request, monkeypatch):
    """Weights of the configuration, under the authors' names."""
    monkeypatch.chdir(request.config.rootpath)
    config = config_lib.resolve(config_lib.load(CONFIG))
    num_classes = dataset_info(config.data).num_classes
    shapes = state_dicts.variable_shapes(config.model, num_classes)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    return torch_weights.to_state_dict(
        variables, config.model, torch_weights.find("authors")
    )


def test_import_then_export_gives_the_same_bits(run, state_dict, tmp_path):
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    safetensors.numpy.save_file(state_dict, source)
    arguments = ("--source", source, "--config", CONFIG, "--workdir", workdir)
    status, out, _ = run("import", *arguments)
    assert status == 0
    assert "weights of a segmentation network of PyTorch-Encoding" in out
    assert f"python eval.py --workdir {workdir}" in out
    assert "warning" not in out
    _, config = read.restore_variables(workdir)
    assert config.architecture == "release"

    output = tmp_path / "out.safetensors"
    status, out, _ = run("export", "--workdir", workdir, "--output", output)
    assert status == 0
    assert f"wrote {output}: weights of a segmentation network" in out
    exported = safetensors.numpy.load_file(output)
    assert exported.keys() == state_dict.keys()
    for name, array in state_dict.items():
        assert exported[name].tobytes() == array.tobytes(), name

    backbone = tmp_path / "backbone.safetensors"
    arguments_out = ("--workdir", workdir, "--output", backbone, "--family")
    status, _, err = run("export", *arguments_out, "torchvision")
    assert status == 2 and "use --family deep_stem" in err
    assert not backbone.exists()
    status, out, _ = run("export", *arguments_out, "deep_stem")
    assert status == 0 and "deep-stem ResNet" in out
    found = safetensors.numpy.load_file(backbone)["conv1.0.weight"]
    np.testing.assert_array_equal(found, state_dict["pretrained.conv1.0.weight"])

    before = output.read_bytes()
    status, _, err = run("export", "--workdir", workdir, "--output", output)
    assert status == 2 and "exists already" in err
    assert output.read_bytes() == before
    status, _, err = run("import", *arguments)
    assert status == 2 and "already contains checkpoints" in err


def test_fields_that_the_arrays_do_not_determine_give_a_warning(
    run, state_dict, tmp_path
):
    source = tmp_path / "in.safetensors"
    safetensors.numpy.save_file(state_dict, source)
    status, out, _ = run(
        *("import", "--source", source, "--workdir", tmp_path / "run"),
        *("--config", CONFIG, "--config.model.gate=scale"),
    )
    assert status == 0
    warning = "warning: model.gate is 'scale', but these weights are for 'residual'"
    assert warning in out


def test_mismatched_weights_write_nothing(run, state_dict, tmp_path):
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    del state_dict["head.conv6.1.bias"]
    safetensors.numpy.save_file(state_dict, source)
    status, _, err = run(
        "import", "--source", source, "--config", CONFIG, "--workdir", workdir
    )
    assert status == 2 and "missing head.conv6.1.bias" in err
    assert not workdir.exists()


def test_a_folder_that_another_command_is_using_is_refused(run, state_dict, tmp_path):
    source, folder = tmp_path / "in.safetensors", tmp_path / "run"
    safetensors.numpy.save_file(state_dict, source)
    with workdir.locked(str(folder)):
        status, _, err = run(
            "import", "--source", source, "--config", CONFIG, "--workdir", folder
        )
    assert status == 2
    assert f"another run is using {folder}: wait until that run ends" in err
    assert not (folder / "checkpoints").exists()


def test_evaluating_a_backbone_is_refused_with_the_command_to_train(
    run, state_dict, tmp_path
):
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    backbone = {
        name.removeprefix("pretrained."): array
        for name, array in state_dict.items()
        if name.startswith("pretrained.")
    }
    safetensors.numpy.save_file(backbone, source)
    status, out, err = run(
        "import", "--source", source, "--config", CONFIG, "--workdir", workdir
    )
    assert status == 2 and f"--config.init_from={source}" in err
    assert "deep-stem ResNet" in out
    assert not workdir.exists()


def test_mistakes_are_reported_in_one_line(run, tmp_path):
    assert run("--help")[0] == 0
    for arguments, words in (
        (
            ["fetch"],
            "unknown command 'fetch'; expected one of: list, download, import, export",
        ),
        (["import"], "missing: --source, --workdir; --help"),
        (["export", "--workdir", "x"], "missing: --output; --help"),
        (["export", "--workdr", "x"], "Unknown command line flag 'workdr'"),
        (
            "import --source x --workdir y --config configs/cifar10.py".split(),
            "no file x",
        ),
    ):
        status, _, err = run(*arguments)
        assert status == 2 and words in err
        assert len(err.splitlines()) == 1


def test_evaluation_takes_an_imported_checkpoint(run, state_dict, tmp_path):
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    state_dict["head.conv6.1.weight"][:] = 0
    state_dict["head.conv6.1.bias"][:] = np.arange(13) == 5  # Everything is "earth".
    safetensors.numpy.save_file(state_dict, source)
    run("import", "--source", source, "--config", CONFIG, "--workdir", workdir)
    report = run_lib.evaluate_run(str(workdir))
    assert 0 < report["val/single/pixel_accuracy"] == report["iou"].pop("earth")
    assert not any(report["iou"].values())
    assert (workdir / "report.json").exists()
