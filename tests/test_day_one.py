"""The main job from a named backbone of a mirror, with the commands of the documents.

The server has a file of the real format, a .pth of ResNet-18 under OpenMMLab's names,
and the data are three real images of ADE20K: two to train on, one to validate.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import file_server
import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
# The main job, smaller: its weights are registered under the address of the mirror.
CONFIG = """
from encnet_jax import config as config_lib
from encnet_jax.weights import PUBLISHED, Published

PUBLISHED.register("mirror:resnet18_v1c", Published(
    name="mirror:resnet18_v1c", address={address!r}, family="resnet_v1c",
    fields={{"model.backbone": "resnet18", "model.stem": "deep",
             "model.stem_width": 32, "model.avg_down": False}},
    licence="", score="", source="", digest={digest!r}, size_mib=45.0))


def get_config(arguments=""):
    config = config_lib.load(f"ade20k:{{arguments}}")
    config.init_from = "mirror:resnet18_v1c"
    config.data.crop_size = 64
    config.data.augment.base_size = 96
    config.model.head_channels = config.model.aux_channels = 32
    config.train.batch_size = 2
    config.train.total_steps = 4
    config.train.log_every_steps = config.train.checkpoint_every_steps = 2
    config.train.num_pictures = 0
    config.eval.scales = (0.25, 0.5)
    return config
"""
IMAGE = "ADE_val_00000001"


def weight_file(folder):
    """Returns the name, the bytes and the published digits of a backbone's file."""
    torch = pytest.importorskip("torch", reason="requirements/torch.txt")
    from benchmarks.torch_models import layers
    from encnet_jax.models.backbones.resnet import BackboneSpec

    spec = BackboneSpec((2, 2, 2, 2), False)
    module = layers.Classifier(spec, stem="v1c", stem_width=32)
    layers.randomise(module)
    saved = folder / "resnet18.pth"
    torch.save({"state_dict": module.state_dict(), "meta": {"epoch": 100}}, saved)
    contents = saved.read_bytes()
    digest = hashlib.sha256(contents).hexdigest()[:8]
    return f"resnet18_v1c-{digest}.pth", contents, digest


def ade20k(reference, folder):
    """Makes a folder of the published layout; the last two images are for training."""
    source = reference / "data" / "ADEChallengeData2016"
    for kind, suffix in (("images", ".jpg"), ("annotations", ".png")):
        for split in ("training", "validation"):
            (folder / kind / split).mkdir(parents=True)
        files = sorted((source / kind / "validation").glob(f"*{suffix}"))
        assert len(files) == 3
        for file in files[1:]:
            name = file.name.replace("val", "train")
            shutil.copyfile(file, folder / kind / "training" / name)
        shutil.copyfile(files[0], folder / kind / "validation" / files[0].name)
    return folder / "images" / "validation"


@pytest.mark.slow
def test_training_from_a_published_backbone_end_to_end(reference_dir, tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="requirements/train.txt")
    pytest.importorskip("onnxruntime", reason="requirements/export.txt")
    name, contents, digest = weight_file(tmp_path)
    photos = ade20k(reference_dir, tmp_path / "ADEChallengeData2016")
    variables = os.environ | {
        "ENCNET_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "",  # One device, as a user has.
    }

    def call(*words, status=0):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done.stdout + done.stderr

    prepare = ("-m", "encnet_jax.data.prepare", "ade20k", "--data_dir=data")
    said = call(*prepare, "--source=ADEChallengeData2016")
    assert "ade20k train: 2 examples" in said and "ade20k val: 1 examples" in said
    train = (ROOT / "train.py", "--config", "mine.py:paper,resnet18", "--workdir=run")
    with file_server.serving({name: contents}) as server:
        address = server.address(name)
        text = CONFIG.format(address=address, digest=digest)
        (tmp_path / "mine.py").write_text(text)
        said = call(*train, "--config.train.max_minutes=0.0001")
        assert said.count(f"downloading mirror:resnet18_v1c (45.0 MiB) to {tmp_path}")
        assert "data: ade20k, images: train 2, val 1" in said
        assert "network: encnet, resnet18, paper" in said
        assert "weights: ImageNet, mirror:resnet18_v1c, 110 arrays; " in said
        assert "stopped" in said and "the same command resumes the run" in said
    # The server is gone: the rest needs no connection.
    said = call(*train)
    assert "resuming at step" in said and "trained 4 steps" in said
    assert "weights: step " in said
    said = call(ROOT / "eval.py", "--workdir=run", "--protocol=multiscale")
    assert "val/multiscale/mean_iou" in said
    call(ROOT / "predict.py", "--workdir=run", f"--input={photos}")
    labelled = np.asarray(Image.open(tmp_path / "labelled" / f"{IMAGE}_ids.png"))
    photo = photos / f"{IMAGE}.jpg"
    assert labelled.shape == Image.open(photo).size[::-1] and labelled.max() < 150
    export = ("-m", "encnet_jax.export", "--workdir=run", f"--images={photos}")
    said = call(*export, "--format=onnx", "--output=net.onnx", "--size=64x96")
    assert "wrote net.onnx" in said
    call(*export[:3], "--format=hub", "--output=net")
    load = f"import encnet_jax as e, numpy as n; r = e.load('net')({str(photo)!r})"
    call("-c", f"{load}; n.save('labels.npy', r.labels)")
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), labelled)
    (tmp_path / "cache" / "weights" / name).unlink()
    said = call(*train[:-1], "--workdir=other", status=2)
    assert f"cannot download mirror:resnet18_v1c (45.0 MiB) from {address}: " in said
    assert f"in another way and save it as {tmp_path}/cache/weights/{name}" in said
