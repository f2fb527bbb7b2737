"""Workdirs and data in object stores: real clients, and a store on this machine."""

import json
import re

import fake_gcs
import jax
import made_datasets
import numpy as np
import processes
import pytest
from etils import epath
from joined_tasks import settings
from PIL import Image
from smoke_runs import smoke_config

from encnet_jax import config as config_lib
from encnet_jax import errors, storage
from encnet_jax.checkpoints import integrity, read
from encnet_jax.data import open_dataset, sets
from encnet_jax.data.export_arrays import export_arrays
from encnet_jax.data.export_images import export_images
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sources import npz
from encnet_jax.errors import UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate import submission, tables
from encnet_jax.inference import files, inputs
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.report import events, figures
from encnet_jax.storage import checks
from encnet_jax.train import loop
from encnet_jax.train.logbook import Logbook


@pytest.fixture(scope="module")
def server():
    # TensorStore reads the variables once, gcsfs some of them when it is imported.
    with fake_gcs.Server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        pytest.importorskip("gcsfs")
        yield server


@pytest.fixture
def bucket(server, request):
    server.objects.clear()
    # One for each test: gcsfs remembers listings.
    name = re.sub("[^a-z]+", "-", request.node.name).strip("-")
    server.buckets.add(name)
    return epath.Path(f"gs://{name}")


def test_a_run_keeps_its_files_in_a_bucket(bucket):
    run, config = (
        f"{bucket}/runs/a",
        config_lib.resolve(settings(), config_lib.Facts(400)),
    )
    with workdir_lib.locked(run):  # Nothing can be locked: a second start is let in.
        with workdir_lib.locked(run):
            workdir_lib.save_config(run, config)
    with Logbook(run, config.train, start_step=0) as logbook:
        logbook.scores(3, {"val/single/mean_iou": 0.25})
    tables.save_report(epath.Path(run) / "report.json", {"step": 3})
    assert events.read_scalars(run) == {"val/single/mean_iou": {3: 0.25}}
    assert json.loads((bucket / "runs/a/report.json").read_text()) == {"step": 3}
    saved = config_lib.from_dict(
        json.loads((bucket / "runs/a/config.json").read_text())
    )
    assert config_lib.first_difference(saved, config) is None
    with Logbook(run, config.train, start_step=0) as logbook:
        logbook.scores(4, {"val/single/mean_iou": 0.5})
    table = (bucket / "runs/a/scalars.csv").read_text().splitlines()
    assert table == [
        *("step,name,value", "3,val/single/mean_iou,0.25", "4,val/single/mean_iou,0.5")
    ]
    names = {path.name.split(".")[0] for path in epath.Path(run).iterdir()}
    assert names == {"config", "events", "report", "scalars"}


def test_damaged_checkpoints_in_a_bucket_are_set_aside(bucket, capsys):
    folder = bucket / "runs/a/checkpoints"
    for step in ("5", "10", "15"):
        (folder / step / "params").mkdir(parents=True)
        (folder / step / "params/array").write_text(step)
        integrity.seal(folder / step)
        (folder / step / "_CHECKPOINT_METADATA").write_text('{"item_handlers": {}}')
        if step != "15":  # As Orbax leaves one whose writing was cut short.
            (folder / step / "commit_success.txt").write_text("done")
    (folder / "10/params/array").write_text("01")
    integrity.set_aside_damaged(folder)
    assert "step 10: params/array has changed" in capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    assert names == {"5", "10.damaged", "15"}
    assert integrity.newest_whole(folder) == (5, {})


def test_arrays_are_read_from_a_bucket(bucket):
    info = sets.dataset_info(settings().data)
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    shard = bucket / "data" / info.name / "0.npz"
    shard.parent.mkdir(parents=True)
    with shard.open("wb") as file:
        np.savez(file, val_images=images, val_labels=np.zeros((2, 4, 4), np.uint8))
    source = npz.NpzSource(info, f"{bucket}/data")
    assert source.sizes() == {"val": 2}
    np.testing.assert_array_equal(source.example("val", 1).image, images[1])


def test_two_processes_share_a_run_in_a_bucket(bucket, server):
    run = f"{bucket}/runs/a"
    command = ("train.py", *processes.SMOKE, f"--workdir={run}")
    # Validation is compiled once, by the evaluation in this process.
    command += ("--config.train.eval_every_epochs=0.0",)
    forms = {"ENCNET_PLATFORM_FORMS": "0"}
    processes.succeed(*processes.start_joined(2, *command, **forms))
    names = [name for _, name in server.objects]
    for process in (0, 1):
        assert any(f"/variables/ocdbt.process_{process}/d/" in name for name in names)
    assert sum("/events.out.tfevents" in name for name in names) == 1
    assert read.find_step(run) == 4
    assert run_lib.evaluate_run(run)["step"] == 4


@pytest.mark.tf
def test_prepared_data_is_read_from_a_bucket(bucket, server, tmp_path):
    made_datasets.ade20k(tmp_path / "source")
    prepare("ade20k", source=str(tmp_path / "source"), data_dir=str(tmp_path / "data"))
    server.upload(tmp_path / "data", f"{bucket}/data")
    check = processes.start(
        *("-m", "encnet_jax.data.check", "--config=configs/ade20k.py"),
        f"--config.data.data_dir={bucket}/data",
        **server.environment,
    )
    [told] = processes.succeed(check)
    assert "no problems found" in told


def test_pictures_are_read_from_a_bucket_and_written_to_it(bucket, server, tmp_path):
    for name in ("a", "b"):
        made_datasets.write(
            tmp_path / f"images/{name}.png", made_datasets.image(0, "PNG")
        )
        mask = made_datasets.png(made_datasets.raw_mask(0, range(3)))
        made_datasets.write(tmp_path / f"masks/{name}.png", mask)
    server.upload(tmp_path, f"{bucket}/my")
    config = config_lib.load("configs/folder.py:tiny")
    config.data.folder.images = f"{bucket}/my/images"
    config.data.folder.masks = f"{bucket}/my/masks"
    config.data.folder.class_names = ("one", "two", "three")
    count = export_images(config.data, split="val", count=9, output=f"{bucket}/out")
    names = {path.name for path in (bucket / "out/labels").iterdir()}
    assert (count, names) == (2, {"a.png", "b.png"})
    found = inputs.list_images(bucket / "out/images")
    assert [path.name for path in found] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: prepare("camvid", source=None, data_dir=path),
        lambda path: export_arrays("camvid", data_dir=path),
        lambda path: submission.find("ade20k", f"{path}/a.zip"),
    ],
    ids=["prepare", "export_arrays", "submission"],
)
def test_commands_that_write_only_to_disks_refuse_buckets(write, bucket, server):
    with pytest.raises(
        UserError, match=f"is {bucket}.*; expected a path on a local disk"
    ):
        write(str(bucket))
    assert not server.objects


def test_a_missing_bucket_is_reported(server, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    config = config_lib.load("configs/folder.py:tiny")
    config.data.data_dir = "gs://nobucket/data"
    with pytest.raises(UserError, match="gs://nobucket/data does not exist"):
        open_dataset(config.data)
    with pytest.raises(UserError, match="gs://nobucket/a does not exist"):
        with workdir_lib.locked("gs://nobucket/a"):
            pass
    for write in (
        lambda path: files.prepare([str(tmp_path / "a.png")], path),
        lambda path: export_images(config.data, split="val", count=1, output=path),
        lambda path: figures.save(None, f"{path}/a.png", dpi=1),
    ):
        with pytest.raises(UserError, match="gs://nobucket/out does not exist"):
            write("gs://nobucket/out")
    with pytest.raises(
        UserError, match="gs:/a/b has only one slash after 'gs:'; expected gs"
    ):
        with workdir_lib.locked("gs:/a/b"):
            pass


def test_errors_of_object_stores_are_recognised(bucket):
    with pytest.raises(FileNotFoundError) as refused:
        (bucket / "none").read_text()
    assert storage.is_of_store(refused.value)
    with pytest.raises(FileNotFoundError) as missing:
        epath.Path("/nowhere/none").read_text()
    assert not storage.is_of_store(missing.value)


def test_a_library_that_cannot_be_mapped_is_a_memory_error():
    text = "raise ImportError('a.so: failed to map segment from shared object')"
    with pytest.raises(ImportError) as unmapped:
        exec(text, {"__name__": "tensorstore"})
    assert not storage.is_of_store(unmapped.value)
    assert errors.is_out_of_memory(unmapped.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere://bucket/a", "begins with 'nowhere:'; expected a local path, or"),
        ("az://bucket/a", "cannot be reached .*pip install"),
    ],
)
def test_object_stores_that_cannot_be_reached_are_reported(path, message):
    with pytest.raises(UserError, match=f"{path} {message}"):
        checks.check_reachable(path)
    with pytest.raises(UserError, match=f"{path} {message}"):
        with workdir_lib.locked(path):
            pass


def test_a_run_in_a_bucket_survives_damage_and_is_scored(bucket, server, capsys):
    run = f"{bucket}/runs/a"
    config = smoke_config(**{"train.checkpoint_every_steps": 2})
    loop.train(config, run)
    trained, _ = read.restore_variables(run)
    newest = {
        key: content
        for key, (_, content) in server.objects.items()
        if "/checkpoints/4/" in key[1]
    }
    names = {key[1].partition("/checkpoints/4/")[2] for key in newest}
    sealed = json.loads((bucket / "runs/a/checkpoints/4/sha256.json").read_text())
    assert names - set(sealed) == {
        "sha256.json",
        "_CHECKPOINT_METADATA",
        "commit_success.txt",
        "score.json",
    }

    largest = max(newest, key=lambda key: len(newest[key]))
    content = bytearray(newest[largest])
    content[len(content) // 2] ^= 1
    server.objects[largest] = (next(server.generations), bytes(content))
    loop.train(config, run)
    told = capsys.readouterr().out
    assert "has changed since it was written; resuming from 2" in told
    assert "resuming at step 2 of 4" in told
    repeated, _ = read.restore_variables(run)
    jax.tree.map(np.testing.assert_array_equal, repeated, trained)

    report = run_lib.evaluate_run(run)
    assert json.loads((bucket / "runs/a/report.json").read_text()) == report
