"""Files for other runtimes: what they compute, and what happens if it is wrong."""

import io
import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import untrained
from PIL import Image

import encnet_jax
from encnet_jax import cli
from encnet_jax.errors import UserError
from encnet_jax.evaluate import tables
from encnet_jax.export import FORMATS, onnx_graph, program, verify
from encnet_jax.export import __main__ as command
from encnet_jax.scoring.protocols import whole_images
from encnet_jax.tasks import folder as folder_lib

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "untrained"
    untrained.save(workdir)
    images = workdir / "images"
    images.mkdir()
    for number in range(2):
        small = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(small).resize((50, 70)).save(images / f"{number}.png")
    return workdir


def export(run, output, kind, *flags):
    words = (f"--workdir={run}", f"--output={output}")
    if not any(flag.startswith("--images") for flag in flags):
        flags += (f"--images={run / 'images'}",)
    return cli.run(command.main, ["export", *words, f"--format={kind}", *flags])


def needs(kind):
    if kind == "onnx":
        pytest.importorskip("onnx", reason="requirements/export.txt")
        pytest.importorskip("onnxruntime", reason="requirements/export.txt")


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_a_file_is_compared_and_described(kind, run, tmp_path, capsys):
    needs(kind)
    output = tmp_path / f"net.{kind}"
    assert export(run, output, kind, "--size=64x48", "--scores") == 0
    said = capsys.readouterr().out
    assert "labels equal in 100.000 % of pixels, 0 clear differences" in said
    assert f"wrote {output} (" in said
    beside = json.loads((tmp_path / f"net.{kind}.json").read_text())
    assert beside["inputs"]["images"] == ["batch", 64, 48, 3]
    assert list(beside["outputs"]) == ["labels", "logits", "presence", "scores"]
    assert beside["platforms"]["cpu"] == "compared"
    assert set(beside["platforms"].values()) <= {"compared", "not run"}
    assert len(beside["class_names"]) == len(beside["colours"]) == 13
    assert 0 <= beside["comparison"]["logit_difference"] < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"net.{kind}",
        f"net.{kind}.json",
    ]
    assert export(run, output, kind) == 2
    assert "already exists: choose another name" in capsys.readouterr().err


def test_a_refined_crf_is_exported(run, tmp_path, capsys):
    """Mean field and refinement are part of the program, for any number of images."""
    workdir, output = tmp_path / "run", tmp_path / "net"
    untrained.save(workdir, "piecewise_crf", **{"model.crf.refine": 4})
    images = f"--images={run / 'images'}"
    assert export(workdir, output, "stablehlo", "--size=64x48", images) == 0
    said = capsys.readouterr().out
    assert "labels equal in 100.000 % of pixels, 0 clear differences" in said


def test_deep_images_are_mapped_by_the_value_range_of_the_run(tmp_path):
    workdir, deep = tmp_path / "run", tmp_path / "deep"
    untrained.save(workdir, **{"data.value_range": (0.0, 4000.0)})
    deep.mkdir()
    values = np.linspace(0, 5000, 64 * 48).reshape(64, 48).astype(np.uint16)
    Image.fromarray(values).save(deep / "a.png")
    output = tmp_path / "net"
    words = ("--size=64x48", f"--images={deep}")
    assert export(workdir, output, "stablehlo", *words) == 0
    beside = json.loads((tmp_path / "net.json").read_text())
    assert beside["inputs"]["black_and_white"] == [0, 4000]


def test_a_file_that_differs_is_removed(run, tmp_path, monkeypatch, capsys):
    wrong = verify.Comparison(0.9, 5, 0.1, 1.0, 1.0, "cpu")
    monkeypatch.setattr(FORMATS, "get", lambda kind: lambda *_: b"")
    monkeypatch.setattr(verify, "compare", lambda *arguments: wrong)
    assert export(run, tmp_path / "a", "stablehlo") == 2
    message = f"{tmp_path / 'a'} was removed, because its results differ from"
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(FORMATS, "get", lambda kind: lambda *_: b"nothing")
    assert export(run, tmp_path / "a", "stablehlo") == 2
    assert "cannot be run by its runtime" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("equal", "clear", "fine"),
    [(1.0, 0, True), (0.9991, 0, True), (0.998, 0, False), (1.0, 1, False)],
)
def test_only_close_results_pass(equal, clear, fine):
    assert verify.passed(verify.Comparison(equal, clear, 0.0, 1, 1, "cpu")) == fine
    wrong = verify.Comparison(equal, clear, 0.0, 1, 1, "cpu", presence_difference=0.1)
    assert not verify.passed(wrong)


def test_differences_are_counted_where_logits_are_apart(monkeypatch, tmp_path):
    rows = np.eye(2, dtype=np.float32)
    made = program.Program(None, 2, 2, ("labels", "logits"), rows, rows)
    logits = np.zeros((1, 2, 2, 3), np.float32)
    logits[..., 0] = 1
    logits[0, 0, 0, 1] = 1 - 2**-12  # As good as equal, and exact in float32.
    labels = np.zeros((1, 2, 2), np.uint8)
    labels[0, 0, 0] = 1
    theirs = {"labels": labels, "logits": logits + 0.25, "seconds": 2, "platform": "x"}
    monkeypatch.setattr(verify, "_run", lambda *_: theirs)
    monkeypatch.setattr(verify, "_run_here", lambda *_: ({"logits": logits}, 3.0))
    found = verify.compare(made, tmp_path, "onnx", np.zeros((1, 2, 2, 3), np.uint8))
    assert found == verify.Comparison(0.75, 0, 0.25, 2.0, 3.0, "x")
    labels[0, 1, 1] = 2
    found = verify.compare(made, tmp_path, "onnx", np.zeros((1, 2, 2, 3), np.uint8))
    assert found.clear_differences == 1 and found.equal == 0.5


def load_sums(file):
    import numpy as np

    offset = np.load(file)

    def run(images):
        labels = (images.sum(-1) + offset).astype(np.uint8)
        return {"labels": labels, "logits": np.eye(3, dtype=np.float32)[labels]}

    return run, "numpy"


def test_a_format_is_one_registration(monkeypatch, tmp_path):
    monkeypatch.setattr(FORMATS, "_entries", dict(FORMATS._entries))
    facts = {"platforms": ("numpy",), "packages": ("numpy",), "readable": "always"}

    @FORMATS.register("sums", load=load_sums, **facts)
    def write(made, about):
        file = io.BytesIO()
        np.save(file, 1)
        return file.getvalue()

    (tmp_path / "net").write_bytes(FORMATS.get("sums")(None, {}))
    images = np.zeros((1, 2, 2, 3), np.uint8)
    images[0, 0, 1] = (1, 0, 0)
    rows = np.eye(2, dtype=np.float32)
    logits = jnp.eye(3)[jnp.array([[[1, 2], [1, 0]]])]  # The last label is 1 there.
    run = {"logits": logits}
    made = program.Program(lambda _: run, 2, 2, ("labels", "logits"), rows, rows)
    found = verify.compare(made, tmp_path / "net", "sums", images)
    assert (found.equal, found.clear_differences) == (0.75, 1)
    assert found.platform == "numpy"


def run_onnx(made, images, **sizes):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_graph.write(made, {}))
    return session.run([*made.outputs], {"images": images, **sizes})


SNIPPETS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/outputs.md").read_text(), re.S
)


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_the_documents_lines_label_images_of_any_size_without_this_package(
    kind, run, tmp_path, capsys
):
    needs(kind)
    assert export(run, tmp_path / f"demo.{kind}", kind) == 0
    beside = json.loads((tmp_path / f"demo.{kind}.json").read_text())
    side = "multiple of 8"
    assert beside["inputs"]["images"] == ["batch", side, side, 3]
    assert beside["stride"] == 8
    assert beside["normalisation"]["mean"] == [123.675, 116.28, 103.53]
    (snippet,) = (code for code in SNIPPETS if f"demo.{kind}" in code)
    assert len(snippet.strip().splitlines()) <= 14
    others = {
        "onnx": ("encnet_jax", "jax", "flax"),
        "stablehlo": ("encnet_jax", "flax"),
    }
    hidden = f"import sys\nfor name in {others[kind]}: sys.modules[name] = None\n"
    show = "np.save('labels.npy', labels); print(names)"
    model = encnet_jax.load(run, protocol="single")
    image = Image.open(run / "images" / "0.png").resize((93, 61))
    image.save(tmp_path / "photo.png")
    code = snippet.replace("photo.jpg", "photo.png")
    # -I: neither the current folder nor PYTHONPATH is searched.
    words = [sys.executable, "-I", "-c", f"{hidden}{code}\n{show}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(list(model.class_names))
    labels = np.load(tmp_path / "labels.npy")
    wanted = model(np.asarray(image)).labels
    assert labels.shape == wanted.shape and (labels == wanted).mean() > 0.999


@pytest.mark.parametrize(
    ("words", "fields", "multiple"),
    [
        ("pspnet", {}, 8),
        ("fcn", {"model.mask_padding": False}, 64),
        ("deeplabv3", {}, 8),
        ("duc", {}, 64),
    ],
)
def test_onnx_of_free_sizes(words, fields, multiple, tmp_path):
    needs("onnx")
    untrained.save(tmp_path / "run", words, **fields)
    model = encnet_jax.load(tmp_path / "run")
    made = program.make_free(model, scores=False)
    assert made.multiple == multiple
    image = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
    images, sizes = command._canvases([image], made)
    inputs = {"sizes": sizes} if made.masked else {}
    labels, *_ = run_onnx(made, images, **inputs)
    wanted = model(image).labels
    assert len(np.unique(wanted)) > 1
    assert (labels[0, :40, :52] == wanted).mean() > 0.999


def test_a_network_of_fixed_size_cannot_be_exported_for_any_size(tmp_path, capsys):
    run = tmp_path / "run"
    untrained.save(run, "piecewise_crf", **{"model.crf.hidden_channels": 8})
    image = np.random.default_rng(0).integers(0, 256, (50, 64, 3), np.uint8)
    (run / "images").mkdir()
    Image.fromarray(image).save(run / "images" / "0.png")
    assert export(run, tmp_path / "a", "onnx", "--size=any") == 2
    said = capsys.readouterr().err
    assert "piecewise_crf cannot be exported for images of any size" in said
    assert export(run, tmp_path / "a", "stablehlo", "--size=64x64") == 0
    assert "labels equal in 100.000 %" in capsys.readouterr().out
    needs("onnx")
    assert export(run, tmp_path / "b", "onnx", "--size=64x64") == 2
    said = capsys.readouterr().err
    assert "use --format stablehlo" in said and len(said.splitlines()) == 1


def test_an_export_needs_no_data(tmp_path, monkeypatch, capsys):
    from encnet_jax import tasks

    def missing(config):
        raise UserError("images: no such folder")

    untrained.save(tmp_path / "run")
    monkeypatch.setattr(tasks, "open_dataset", missing)
    words = ("--format=stablehlo", f"--output={tmp_path / 'a'}", "--size=32x32")
    words = ["export", f"--workdir={tmp_path / 'run'}", *words]
    assert cli.run(command.main, words) == 0
    assert "compared on noise, because the data cannot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("fcn", {}),
        ("pspnet", {}),
        ("deeplabv3", {}),
        ("release", {}),
        ("mmseg", {}),
        ("duc", {}),
        ("duc", {"architecture": "duc_released"}),
    ],
)
def test_onnx_of_other_networks(words, fields, tmp_path):
    needs("onnx")
    untrained.save(tmp_path / "run", words, **fields)
    model = encnet_jax.load(tmp_path / "run")
    made = program.make(model, 40, 48, scores=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), np.uint8)
    labels, logits, *presence = run_onnx(made, images)
    wanted = jax.device_get(jax.jit(made.run)(images))
    size = np.ptp(wanted["logits"])
    assert size > 0.1 and len(np.unique(wanted["labels"])) > 1
    np.testing.assert_allclose(logits, wanted["logits"], atol=1e-4 * size)
    assert labels.dtype == np.uint8
    assert (labels == wanted["labels"]).mean() > 0.999
    assert bool(presence) == ("presence" in wanted)
    for found in presence:
        np.testing.assert_allclose(found, wanted["presence"], atol=1e-5)


def test_onnx_labels_pixels_without_finite_scores_as_ignored():
    needs("onnx")
    values = np.asarray([[1, 0, 0], [0, 0, 0], [0, 5, 1], [2, 1, 7]], np.uint8)
    divisors = jnp.asarray([[[[1.0, 0.0, 1.0]]]])  # 0 / 0 is NaN, 5 / 0 infinite.
    made = program.Program(
        lambda x: {"labels": whole_images.class_ids(x.astype(jnp.float32) / divisors)},
        *(2, 2, ("labels",), None, None),
    )
    (labels,) = run_onnx(made, values.reshape(1, 2, 2, 3))
    assert labels.ravel().tolist() == [255, 255, 255, 255]
    (labels,) = run_onnx(
        made._replace(
            run=lambda x: {"labels": whole_images.class_ids(x.astype(jnp.float32))}
        ),
        values.reshape(1, 2, 2, 3),
    )
    assert labels.ravel().tolist() == [0, 0, 1, 2]


def test_operations_that_onnx_lacks_are_refused_in_one_line():
    needs("onnx")
    made = program.Program(
        lambda x: {"labels": jax.lax.cumsum(x, axis=1)}, 4, 4, ("labels",), None, None
    )
    with pytest.raises(
        UserError, match="JAX primitive 'cumsum', which ONNX export does not support"
    ):
        onnx_graph.write(made, {})


def test_a_hub_folder_has_weights_configuration_and_card(run, tmp_path, capsys):
    report = {
        "val/single/mean_iou": 0.1234,
        "val/single/pixel_accuracy": 0.5,
        "split": "val",
        "protocol": {"name": "single"},
        "data": "scenes",
        "images": 100,
        "step": 0,
        "rule": "as here",
        **dict.fromkeys(("model", "devices", "commit"), ""),
    }
    tables.save_report(run / "report-val-single.json", report)
    tables.save_report(run / "report-val-release.json", report | {"step": 1})
    output = tmp_path / "handed"
    assert export(run, output, "hub", "--license=apache-2.0") == 0
    assert f"wrote {output}" in capsys.readouterr().out
    card = (output / "README.md").read_text()
    head, text = card.removeprefix("---\n").split("\n---\n")
    assert "license: apache-2.0\n" in head and "value: 0.1234" in head
    assert "datasets:\n- scenes" in head
    assert (
        head.count("- task:") == 1 and "| scenes/val | single | 100 | 0.1234 |" in text
    )
    image = np.asarray(Image.open(run / "images" / "0.png"))
    ours, theirs = encnet_jax.load(run)(image), encnet_jax.load(output)(image)
    np.testing.assert_array_equal(theirs.confidence, ours.confidence)
    with pytest.raises(
        UserError, match="has no numbered checkpoints; omit the checkpoint"
    ):
        encnet_jax.load(output, "best")
    (output / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="has changed since it was written"):
        encnet_jax.load(output)
    assert folder_lib.is_one(output) and not folder_lib.is_one(run)


def test_missing_packages_and_folders_are_reported_in_one_line(
    run, tmp_path, monkeypatch, capsys
):
    assert export(run, "gs://bucket/a", "hub") == 2
    assert "--output is gs://bucket/a; expected a path" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert export(run, tmp_path / "file" / "a", "hub") == 2
    shown = capsys.readouterr().err
    assert f"{tmp_path / 'file'}" in shown and "folder" in shown
    # As in an environment that has only what running needs.
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert export(run, tmp_path / "a", "stablehlo") == 2
    assert "pip install flatbuffers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export(run, tmp_path / "a", "onnx") == 2
    assert "pip install onnx onnxruntime" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_flags_are_checked_before_the_work(run, tmp_path, capsys):
    assert export(run, tmp_path / "a", "flax") == 2
    assert "'flax'; expected one of: onnx, stablehlo, hub" in capsys.readouterr().err
    assert export(run, tmp_path / "a", "onnx", "--size=480") == 2
    assert "--size is '480'; expected HEIGHTxWIDTH" in capsys.readouterr().err
