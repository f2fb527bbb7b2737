"""Figure 7: reading scalars back, epochs, and the picture."""

import numpy as np
import pytest
from PIL import Image
from tensorboardX import SummaryWriter

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.report import __main__ as report_main
from encnet_jax.report.curves import load_curves
from encnet_jax.report.events import read_scalars


def write_run(workdir, *, train, val=(), files=1):
    """A run of 4 steps an epoch; values are lists of (step, error)."""
    config = config_lib.load("configs/cifar10.py:smoke")
    config.train.batch_size, config.train.total_steps = 10, 12
    config = config_lib.resolve(config, config_lib.Facts(43))
    workdir.mkdir()
    (workdir / "config.json").write_text(config_lib.to_json(config))
    for part in range(files):
        with SummaryWriter(str(workdir), filename_suffix=f".{part}") as writer:
            for step, error in train[part::files]:
                writer.add_scalar("train/error", error, step)
            for step, error in val:
                writer.add_scalar("val/single/error", error, step)
    return workdir


@pytest.fixture
def run(tmp_path):
    train = [(1, 0.9), (2, 0.7), (4, 0.5), (6, 0.4), (8, 0.2), (12, 0.1)]
    return write_run(
        tmp_path / "first", train=train, val=[(4, 0.8), (8, 0.5), (12, 0.25)]
    )


def test_scalars_come_back(run):
    scalars = read_scalars(str(run))
    assert set(scalars) == {"train/error", "val/single/error"}
    assert list(scalars["train/error"]) == [1, 2, 4, 6, 8, 12]
    np.testing.assert_allclose(scalars["train/error"][6], 0.4, rtol=1e-6)


def test_unfinished_record_is_left_out(run):
    (file,) = run.glob("events*")
    file.write_bytes(file.read_bytes()[:-3])
    assert list(read_scalars(str(run))["val/single/error"]) == [4, 8]


def test_repeated_step_has_its_last_value(tmp_path):
    folder = write_run(
        tmp_path / "resumed", train=[(5, 0.6), (5, 0.3)], val=[(5, 0.9)], files=2
    )
    np.testing.assert_allclose(read_scalars(str(folder))["train/error"][5], 0.3)


def test_points_are_in_epochs_and_train_errors_averaged(run):
    curves = load_curves(str(run))
    assert curves.name == "first"
    np.testing.assert_allclose(curves.val[0], [1, 2, 3])
    np.testing.assert_allclose(curves.val[1], [0.8, 0.5, 0.25])
    np.testing.assert_allclose(curves.train[0], [1, 2, 3])
    np.testing.assert_allclose(curves.train[1], [0.7, 0.3, 0.1], rtol=1e-6)


def report(*arguments):
    return cli.run(report_main.main, ["report", *arguments])


def test_two_runs_are_drawn(run, tmp_path, capsys):
    other = write_run(tmp_path / "second", train=[(12, 0.5)], val=[(12, 0.6)])
    output = tmp_path / "pictures" / "figure7.png"
    assert report("curves", str(run), str(other), "--output", str(output)) == 0
    picture = np.asarray(Image.open(output).convert("RGB"))
    assert picture.shape == (600, 960, 3)
    # Both runs' colours of matplotlib's cycle are there.
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (picture == colour).all(axis=-1).sum() > 20
    out = capsys.readouterr().out
    assert "first: validation error 25.00 % at epoch 3.00, train error 10.00 %" in out
    assert [p.name for p in output.parent.iterdir()] == ["figure7.png"]


def test_runs_without_curves_are_refused(run, tmp_path, capsys):
    assert report("curves", str(tmp_path)) == 2
    assert "has no config.json" in capsys.readouterr().err
    bare = write_run(tmp_path / "bare", train=[(4, 0.5)])
    assert report("curves", str(bare)) == 2
    assert "1 training errors and 0 validation errors" in capsys.readouterr().err
    next(bare.glob("events*")).unlink()
    assert report("curves", str(bare)) == 2
    assert "has no TensorBoard files" in capsys.readouterr().err
    assert report("curve") == 2
    error = capsys.readouterr().err
    assert "unknown command 'curve'; expected one of:" in error and "curves" in error
