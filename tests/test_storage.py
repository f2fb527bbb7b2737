"""Workdirs and data in object stores: all but Orbax's arrays, without a store."""

import json

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from joined_tasks import settings

from encnet_jax import config as config_lib
from encnet_jax import integrity, storage, workdir
from encnet_jax.data import arrays, catalog
from encnet_jax.errors import UserError
from encnet_jax.report import events, tables
from encnet_jax.report.logbook import Logbook


class Bucket(MemoryFileSystem):
    """Takes the place of gcsfs: objects by name, folders only as parts of names."""

    protocol, cachable = ("gs", "gcs"), False
    store, pseudo_dirs = {}, [""]

    def __init__(self, **options):
        super().__init__()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))


@pytest.fixture
def bucket():
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    path = epath.Path("gs://bucket")
    path.mkdir()
    return path


def test_a_run_keeps_its_files_in_a_bucket(bucket):
    run, config = f"{bucket}/runs/a", config_lib.resolve(settings(), 400)
    with workdir.locked(run):  # Nothing can be locked: a second start is let in.
        with workdir.locked(run):
            workdir.save_config(run, config)
    with Logbook(run, config, start_step=0) as logbook:
        logbook.scores(3, {"val/single/mean_iou": 0.25})
    tables.save_report(epath.Path(run) / "report.json", {"step": 3})
    assert events.read_scalars(run) == {"val/single/mean_iou": {3: 0.25}}
    assert json.loads((bucket / "runs/a/report.json").read_text()) == {"step": 3}
    saved = config_lib.from_json((bucket / "runs/a/config.json").read_text())
    assert config_lib.first_difference(saved, config) is None
    assert len(list(epath.Path(run).iterdir())) == 3


def test_damaged_checkpoints_in_a_bucket_are_set_aside(bucket, capsys):
    folder = bucket / "runs/a/checkpoints"
    for step in ("5", "10", "15"):
        (folder / step / "params").mkdir(parents=True)
        (folder / step / "params/array").write_text(step)
        integrity.seal(folder / step)
        if step != "15":  # As Orbax leaves one whose writing was cut short.
            (folder / step / "commit_success.txt").write_text("done")
    (folder / "10/params/array").write_text("01")
    integrity.set_aside_damaged(folder)
    assert "step 10: params/array has changed" in capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    assert names == {"5", "10.damaged", "15"}
    assert integrity.newest_whole(folder) == (5, {})


def test_arrays_are_read_from_a_bucket(bucket):
    info = catalog.dataset_info(settings().data)
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    shard = bucket / "data" / info.name / "0.npz"
    shard.parent.mkdir(parents=True)
    with shard.open("wb") as file:
        np.savez(file, val_images=images, val_labels=np.zeros((2, 4, 4), np.uint8))
    source = arrays.NpzSource(info, f"{bucket}/data")
    assert source.sizes() == {"val": 2}
    np.testing.assert_array_equal(source.example("val", 1).image, images[1])


@pytest.mark.parametrize("path", ["nowhere://bucket/a", "az://bucket/a"])
def test_stores_out_of_reach_are_named(path):
    with pytest.raises(UserError, match=f"{path} cannot be reached .*pip install"):
        storage.check(path)
    with pytest.raises(UserError, match="cannot be reached"):
        with workdir.locked(path):
            pass
