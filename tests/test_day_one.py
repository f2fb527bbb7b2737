"""The main job from a named backbone of a mirror, with the commands of the documents.

The server has a file of the real format, a .pth of ResNet-18 under OpenMMLab's names.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import file_server
import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = """
from encnet_jax.config import defaults
from encnet_jax.weights import PUBLISHED, Published

PUBLISHED.register("mirror:resnet18_v1c", Published(
    name="mirror:resnet18_v1c", address={address!r}, family="resnet_v1c",
    fields={{"model.backbone": "resnet18", "model.stem": "deep",
             "model.stem_width": 32, "model.avg_down": False}},
    licence="", score="", source="", digest={digest!r}, size_mib=45.0))


def get_config(arguments=""):
    config = defaults.get_config()
    config.init_from = "mirror:resnet18_v1c"
    config.data.name = "scenes"
    config.data.reader = "arrays"
    config.data.crop_size = 64
    config.model.backbone = "resnet18"
    config.model.head_channels = config.model.aux_channels = 32
    config.train.batch_size = 8
    config.train.total_steps = 4
    config.train.log_every_steps = config.train.checkpoint_every_steps = 2
    config.train.num_pictures = 0
    config.eval.max_images = 8
    return config
"""


@pytest.mark.slow
def test_the_main_job_from_a_named_backbone(tmp_path):
    torch = pytest.importorskip("torch", reason="requirements/torch.txt")
    from benchmarks import torch_models
    from encnet_jax.models.backbones.resnet import BackboneSpec

    spec = BackboneSpec((2, 2, 2, 2), False)
    module = torch_models.Classifier(spec, stem="v1c", stem_width=32)
    torch_models.randomise(module)
    saved = tmp_path / "resnet18.pth"
    torch.save({"state_dict": module.state_dict(), "meta": {"epoch": 100}}, saved)
    contents = saved.read_bytes()
    digest = hashlib.sha256(contents).hexdigest()[:8]
    name = f"resnet18_v1c-{digest}.pth"
    variables = os.environ | {
        "ENCNET_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }

    def call(*words, status=0):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=variables | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done.stdout + done.stderr

    train = (str(ROOT / "train.py"), "--config", "mine.py", "--workdir=run")
    with file_server.serving({name: contents}) as server:
        address = server.address(name)
        text = CONFIG.format(address=address, digest=digest)
        (tmp_path / "mine.py").write_text(text)
        said = call(*train, "--config.train.max_minutes=0.0001")
        assert said.count(f"downloading mirror:resnet18_v1c (45.0 MiB) to {tmp_path}")
        assert "weights: ImageNet, mirror:resnet18_v1c, 110 arrays; " in said
        assert "stopped" in said and "the same command resumes the run" in said
    # The server is gone: the rest needs no connection.
    said = call(*train)
    assert "resuming at step" in said and "trained 4 steps" in said
    assert "weights: step " in said
    said = call(str(ROOT / "eval.py"), "--workdir=run", "--protocol=multiscale")
    assert "val/multiscale/mean_iou" in said
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    call(str(ROOT / "predict.py"), "--workdir=run", "--input=photo.jpg")
    labelled = np.asarray(Image.open(tmp_path / "labelled" / "photo_ids.png"))
    words = ("--workdir=run", "--format=hub", "--output=net")
    call("-m", "encnet_jax.export", *words)
    load = "import encnet_jax as e, numpy as n; r = e.load('net')('photo.jpg').labels"
    call("-c", f"{load}; n.save('labels.npy', r)")
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), labelled)
    (tmp_path / "cache" / "weights" / name).unlink()
    said = call(*train[:-1], "--workdir=other", status=2)
    assert f"cannot download mirror:resnet18_v1c (45.0 MiB) from {address}: " in said
    assert f"download it elsewhere to {tmp_path}/cache/weights/{name}" in said
