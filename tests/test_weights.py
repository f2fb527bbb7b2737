"""Published weights by name: the table, the cache, and downloads that go wrong."""

import dataclasses
import hashlib
import io
import pathlib
import re
import subprocess
import sys
import zipfile

import file_server
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import encnet_jax
from encnet_jax import cli, models, preprocess
from encnet_jax import config as config_lib
from encnet_jax.commands import predict
from encnet_jax.errors import UserError
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.torch_weights import __main__ as commands
from encnet_jax.torch_weights import families, names, state_dicts
from encnet_jax.torch_weights.published import network_config
from encnet_jax.weights import PUBLISHED, Published, cache, transfer

CONTENTS = safetensors.numpy.save(
    {"conv1.weight": np.arange(200_000, dtype=np.float32)}
)
DIGEST = hashlib.sha256(CONTENTS).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("ENCNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(transfer, "_PAUSE_SECONDS", 0.0)
    with file_server.serving({"x-12345678.safetensors": CONTENTS}) as server:
        yield server


@pytest.fixture
def published(server, monkeypatch):
    """Registers torchvision:x, served here, and returns how to change it."""

    def register(**changes):
        entry = Published(
            name="torchvision:x",
            address=server.address("x-12345678.safetensors"),
            family="torchvision",
            fields={},
            licence="none",
            score="none",
            source="here",
            digest=DIGEST[:8],
            size_mib=0.8,
        )
        entry = dataclasses.replace(entry, **changes)
        found = PUBLISHED.registration("torchvision:resnet18")._replace(member=entry)
        monkeypatch.setitem(PUBLISHED._entries, "torchvision:x", found)
        return entry

    register()
    return register


def test_the_table_needs_no_jax():
    code = "import sys, encnet_jax.weights.cache; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", PUBLISHED.names())
def test_every_entry_is_complete(name):
    entry = PUBLISHED.get(name)
    assert entry.name == name
    assert entry.address.startswith("https://")
    assert families.find(entry.family).name == entry.family
    assert re.fullmatch(r"((sha1:)?[0-9a-f]{8})?", entry.digest)
    if entry.digest:
        assert entry.digest.removeprefix("sha1:") in entry.file_name
    assert entry.licence and entry.score and entry.source
    assert "model.backbone" in entry.fields
    # No address could be tried where this was written.
    assert not entry.checked
    is_whole = "head" in families.find(entry.family).parts
    assert is_whole == bool(entry.dataset)


def test_files_in_the_cache_have_different_names():
    names = [PUBLISHED.get(name).file_name for name in PUBLISHED]
    assert len(set(names)) == len(names)


def test_weights_are_downloaded_once_and_read_by_name(server, published, capsys):
    for _ in range(2):
        found = state_dicts.read("torchvision:x")
        np.testing.assert_array_equal(found["conv1.weight"], np.arange(200_000))
    assert server.asked == [None]
    assert capsys.readouterr().out.count("downloading torchvision:x (0.8 MiB) to") == 1
    assert {p.name for p in cache.folder().iterdir()} == {
        "x-12345678.safetensors",
        "x-12345678.safetensors.lock",
    }


def test_a_broken_download_resumes_by_itself(server, published):
    server.stop_after = 300_000
    assert cache.fetch("torchvision:x").read_bytes() == CONTENTS
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_resumes_in_the_next_call(server, published):
    part = cache.folder() / "x-12345678.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENTS[:1000])
    assert cache.fetch("torchvision:x").read_bytes() == CONTENTS
    assert server.asked == ["bytes=1000-"]


def test_a_server_without_ranges_starts_again(server, published):
    server.ranges = False
    part = cache.folder() / "x-12345678.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"other")
    assert cache.fetch("torchvision:x").read_bytes() == CONTENTS


def one_line(call, *parts):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def test_a_stated_length_that_is_too_short_is_refused(server, published):
    server.extra_length = -10
    one_line(lambda: cache.fetch("torchvision:x"), "returned a wrong file")
    assert not cache.path_of(PUBLISHED.get("torchvision:x")).exists()


def test_a_complete_file_is_accepted_if_the_stated_length_is_too_long(
    server, published
):
    server.extra_length = 10
    assert cache.fetch("torchvision:x").read_bytes() == CONTENTS
    assert server.asked == [None, f"bytes={len(CONTENTS)}-"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_download_is_one_line_with_address_size_and_path(
    server, published, status
):
    server.answers["x-12345678.safetensors"] = status
    one_line(
        lambda: cache.fetch("torchvision:x"),
        f": {status} ",
        server.address("x-12345678.safetensors"),
        "0.8 MiB",
        str(cache.path_of(PUBLISHED.get("torchvision:x"))),
        "$ENCNET_CACHE",
    )
    assert len(server.asked) == 1


def test_a_missing_connection_is_reported_in_one_line(published):
    published(address="http://127.0.0.1:9/x-12345678.safetensors")
    one_line(lambda: cache.fetch("torchvision:x"), "refused", "0.8 MiB")


def test_other_bytes_are_refused_and_removed(server, published):
    server.files["x-12345678.safetensors"] = CONTENTS[:-1] + b"?"
    one_line(
        lambda: cache.fetch("torchvision:x"),
        "returned a wrong file for torchvision:x",
        f"expected {DIGEST[:8]}",
    )
    assert [p.suffix for p in cache.folder().iterdir()] == [".lock"]


def test_a_changed_file_in_the_cache_is_refused_and_kept(published):
    path = cache.fetch("torchvision:x")
    path.write_bytes(b"mine")
    one_line(
        lambda: cache.fetch("torchvision:x"),
        f"{path} is not the file of torchvision:x",
    )
    assert path.read_bytes() == b"mine"


def test_a_web_page_in_place_of_weights_without_digest_is_refused(
    server, published, capsys
):
    published(digest="")
    server.files["x-12345678.safetensors"] = b"<html>Sign in</html>"
    one_line(lambda: cache.fetch("torchvision:x"), "first bytes")
    server.files["x-12345678.safetensors"] = CONTENTS
    assert cache.fetch("torchvision:x").read_bytes() == CONTENTS
    assert "states no digest" in capsys.readouterr().out


def test_the_digest_inside_an_authors_zip_counts(server, published):
    inside = b"\x80 a file of PyTorch"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("encnet.pth", inside)
    server.files["x-12345678.safetensors"] = written.getvalue()
    published(digest="sha1:" + hashlib.sha1(inside).hexdigest()[:8])
    assert cache.fetch("torchvision:x").read_bytes() == written.getvalue()
    published(digest="sha1:00000000")
    one_line(lambda: cache.fetch("torchvision:x"), "expected sha1:00000000")


def test_a_file_that_pytorch_downloaded_is_used(server, published, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "x-12345678.safetensors").write_bytes(CONTENTS)
    assert cache.fetch("torchvision:x").parent == folder
    assert server.asked == []


def test_two_processes_download_once(server, published, tmp_path):
    code = f"""
import pathlib
from encnet_jax.weights import transfer
target = pathlib.Path({str(tmp_path / "shared")!r})
with transfer.only_process(target):
    if not target.exists():
        part = target.with_name("part")
        transfer.fetch({server.address("x-12345678.safetensors")!r}, part)
        part.replace(target)
"""
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (tmp_path / "shared").read_bytes() == CONTENTS
    assert server.asked == [None]


def test_unknown_names_are_refused_with_the_known_ones():
    one_line(
        lambda: cache.fetch("torchvision:resnet51"),
        "no published weights 'torchvision:resnet51'",
        "torchvision:resnet50,",
    )
    assert not cache.is_name("runs/torchvision:x/y".partition("/")[2].split(":")[1])
    assert not cache.is_name("gs://bucket/weights.pth")
    assert cache.is_name("timm:anything")


@pytest.mark.parametrize(
    "source",
    [
        "timm:resnetaa50",
        "timm:resnetblur101d",
        "downloads/resnetaa50_a1h-4cf422b3.pth",
        "timm/resnetblur50.bt_in1k/model.safetensors",
    ],
)
def test_networks_that_only_look_like_resnets_are_refused(source):
    one_line(lambda: state_dicts.read(source), "resnet", "scores would be wrong")


def test_timms_description_next_to_a_file_counts(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnetblur50"}')
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENTS)
    one_line(lambda: state_dicts.read(path), "resnetblur50", "scores would be wrong")


def test_the_list_shows_names_scores_and_the_cache(published, capsys):
    cache.fetch("torchvision:x")
    capsys.readouterr()
    commands.main(["encnet weights", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PUBLISHED.names()) + 1
    (row,) = [line for line in lines if line.startswith("torchvision:x ")]
    assert "cached" in row
    (row,) = [line for line in lines if line.startswith("mmseg:encnet_r50_ade20k ")]
    assert "41.71 multi-scale" in row and "cached" not in row
    assert str(cache.folder()) in lines[-1]
    commands.main(["encnet weights", "list", "torchvision:resnet50"])
    described = capsys.readouterr().out
    assert "resnet50-0676ba61.pth (not checked)" in described
    assert "97.781 MiB" in described and "model.stem=conv7" in described
    assert "digest: 0676ba61" in described


def test_the_cache_is_in_the_platforms_folder(monkeypatch):
    monkeypatch.delenv("ENCNET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.folder() == pathlib.Path("/somewhere/encnet_jax/weights")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == pathlib.Path.home() / "Library/Caches/encnet_jax/weights"


@pytest.fixture
def network(published, server, monkeypatch):
    """Publishes a small DeepLabV3 with random weights and the names of torchvision."""
    fields = dict(PUBLISHED.get("torchvision:deeplabv3_resnet50").fields)
    fields |= {"model.backbone": "tiny", "model.head_channels": 16}
    entry = published(
        family="torchvision_segmentation", fields=fields, dataset="coco_voc"
    )
    config = config_lib.resolve(network_config(entry))
    model = models.build(config.model, 21)
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    family = families.find("torchvision_segmentation")
    state_dict = state_dicts.to_state_dict(variables, config.model, family)
    contents = safetensors.numpy.save(state_dict)
    server.files["x-12345678.safetensors"] = contents
    published(
        family="torchvision_segmentation",
        fields=fields,
        dataset="coco_voc",
        digest=hashlib.sha256(contents).hexdigest()[:8],
    )
    return model, variables


def test_a_published_network_predicts_without_a_run(network, tmp_path, capsys):
    model, variables = network
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    argv = ["predict", "--weights=torchvision:x", f"--input={tmp_path}/photo.png"]
    output = tmp_path / "labelled"
    assert cli.run(predict.main, [*argv, f"--output={output}"]) == 0
    found = np.asarray(Image.open(output / "photo_ids.png"))
    pixels = preprocess.normalise(jnp.asarray(image)[None])
    logits = jax.jit(model.apply)(variables, pixels)
    logits = resize_bilinear(logits["logits"], 64, 64, align_corners=False)
    assert np.mean(found == np.asarray(logits[0].argmax(-1))) > 0.999
    result = encnet_jax.load("torchvision:x")(image)
    np.testing.assert_array_equal(result.labels, found)
    assert result.class_names[15] == "person"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weights=torchvision:x", "--workdir=runs/x"], "expected either --workdir"),
        ([], "expected either --workdir or --weights"),
        (["--weights=torchvision:resnet50"], "is a backbone without a classifier"),
    ],
)
def test_wrong_arguments_of_predict_are_reported_in_one_line(
    flags, message, tmp_path, capsys
):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    argv = ["predict", *flags, f"--input={tmp_path}/a.png", f"--output={tmp_path}/o"]
    assert cli.run(predict.main, argv) == 2
    assert message in capsys.readouterr().err


def test_a_family_registered_by_a_user_is_recognised(monkeypatch):
    monkeypatch.setattr(names.FAMILIES, "_entries", dict(names.FAMILIES._entries))
    own = dataclasses.replace(
        families.find("torchvision"),
        name="own",
        title="my own names",
        recognises=lambda found: "my.conv.weight" in found,
    )
    names.register(own)
    assert families.recognise({"my.conv.weight": None}) is own
    assert families.find("own") is own
