"""A backbone as a classifier: scores, initialisation of a segmenter, export."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
import untrained
from flax import traverse_util

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError
from encnet_jax.evaluate import loading
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.loading import Selection
from encnet_jax.losses import classification_loss
from encnet_jax.scoring import image_evaluator
from encnet_jax.torch_weights.__main__ import main
from encnet_jax.train import initialise, loop
from encnet_jax.train.assemble import assemble


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, request):
    """The workdir of two steps of a tiny backbone on generated discs."""
    workdir = str(tmp_path_factory.mktemp("classifier"))
    config = config_lib.load(f"{request.config.rootpath}/configs/imagenet.py:smoke")
    config.loss.label_smoothing = 0.1
    config.train.total_steps = 2
    config.data.val_split = ""
    loop.train(config, workdir)
    return workdir


# Trainable parameters with 1000 classes: torchvision's documentation of its weights
# (https://docs.pytorch.org/vision/stable/models.html); timm's model card of resnet50d
# (https://huggingface.co/timm/resnet50d.ra2_in1k) says 25.6 million.
COUNTS = {
    "resnet18,conv7": 11_689_512,
    "resnet34,conv7": 21_797_672,
    "resnet50,conv7": 25_557_032,
    "resnet101,conv7": 44_549_160,
    "resnet152,conv7": 60_192_808,
    "resnet50,resnet_d": 25_576_264,
}


@pytest.mark.parametrize("words", COUNTS)
def test_parameter_counts_equal_published_ones(words, request):
    config = config_lib.load(f"{request.config.rootpath}/configs/imagenet.py:{words}")
    config = config_lib.resolve(config, config_lib.Facts(1_281_167))
    parts = assemble(config, 1000, axis_name=None, only_shapes=True)
    sizes = [x.size for x in jax.tree.leaves(parts.state.params)]
    assert sum(sizes) == COUNTS[words]


def test_classifier_is_scored_by_top1_and_top5(classifier):
    fields = {"eval.max_images": 50, "data.val_split": "test"}
    report = run_lib.evaluate_run(classifier, Selection(split="test", fields=fields))
    top1, top5 = report["test/single/top1"], report["test/single/top5"]
    assert top1 < top5 < 1  # Of ten classes and hardly trained.
    errors = [x for x in report["error"].values() if x is not None]
    assert len(errors) == 10 and report["images"] == 50
    assert report["model"] == "tiny classifier (deep stem)"
    assert report["protocol"] == {
        "name": "single",
        "crop_size": 32,
        "augment.base_size": 256,
    }


def test_ranks_equal_a_calculation_by_hand():
    logits = np.array([[9, 8, 7, 6, 5, 4, 3], [1, 0, 0, 0, 0, 0, 2]], np.float32)

    class Fixed:
        def apply(self, variables, images, train):
            return {"logits": jnp.asarray(np.repeat(logits, 3, 0)[[0, 1, 2, 3, 4]])}

    labels = np.array([0, 4, 5, 0, -1], np.int32)
    batch = {"image": jnp.zeros((5, 2, 2, 3), jnp.uint8), "label": jnp.asarray(labels)}
    pairs, near = image_evaluator.count_step(
        {}, batch, model=Fixed(), normalise=lambda x: x, num_classes=7
    )
    assert near == 3  # Ranks 1, 5, 6 and 2; the last image only fills the batch.
    assert pairs.sum() == 4 and pairs[0, 0] == 1 and pairs[0, 6] == 1


def test_label_smoothing_equals_pytorch():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    labels = np.arange(6)
    loss, _ = classification_loss({"logits": logits}, labels, label_smoothing=0.1)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    plain, _ = classification_loss({"logits": logits}, labels)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(plain, each.mean(), rtol=1e-6)


def segmentation(root, **fields):
    config = config_lib.load(f"{root}/configs/quickstart.py:smoke")
    config.update_from_flattened_dict(
        {
            "data.crop_size": 32,
            "data.val_split": "",
            "train.total_steps": 1,
            "train.freeze": "backbone",
            **fields,
        }
    )
    return config


def flat(tree):
    return traverse_util.flatten_dict(jax.tree.map(np.asarray, dict(tree)), sep="/")


def test_a_classifier_initialises_segmentation_and_exports_to_pytorch(
    classifier, tmp_path, capsys, request
):
    config = segmentation(request.config.rootpath, init_from=classifier)
    loop.train(config, str(tmp_path / "run"))
    lines = capsys.readouterr().out.splitlines()
    for line in (
        f"backbone: loaded all 70 arrays from {classifier}, statistics included",
        "backbone: output stride 32 in that run, 8 in this one",
        f"classifier: not used; it is the classifier of {classifier}",
        f"head: randomly initialised; {classifier} does not contain it",
    ):
        assert line in lines
    first, _ = read.restore_variables(classifier)
    second, _ = read.restore_variables(str(tmp_path / "run"))
    for kind in ("params", "batch_stats"):
        before, after = flat(first[kind]["backbone"]), flat(second[kind]["backbone"])
        assert before.keys() == after.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(array, after[name], err_msg=name)

    files = [tmp_path / "classifier.safetensors", tmp_path / "network.safetensors"]
    for workdir, file in zip((classifier, tmp_path / "run"), files, strict=True):
        flags = ["--workdir", str(workdir), "--output", str(file)]
        command = ["torch_weights", "export", *flags, "--family", "deep_stem"]
        assert cli.run(main, command) == 0
    whole, backbone = map(safetensors.numpy.load_file, files)
    linear = {name: whole.pop(name) for name in ("fc.weight", "fc.bias")}
    dense = first["params"]["classifier"]
    np.testing.assert_array_equal(linear["fc.weight"], dense["kernel"].T)
    np.testing.assert_array_equal(linear["fc.bias"], dense["bias"])
    assert whole.keys() == backbone.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, backbone[name], err_msg=name)


def start(variables, config):
    fields = {"task": config.task, "model": config.model}
    source, skip = config.init_from, config.init_skip
    return initialise.initialise(variables, source, skip, **fields)[0]


def test_a_data_set_with_another_number_of_classes_is_refused(tmp_path, request):
    for folder in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / folder).mkdir(parents=True)
    spec = f"{request.config.rootpath}/configs/imagenet.py:smoke,folder"
    config = config_lib.load(spec)
    config.data.folder.images = f"{tmp_path}/{{split}}"
    config = config_lib.resolve(config, config_lib.Facts(400))
    run = str(tmp_path / "run")
    read.save_variables(run, untrained.random_variables(config), config)
    with pytest.raises(UserError, match="13 classes, .* image_folder now has 2"):
        loading.load(run)


def test_another_backbone_is_refused(classifier, request):
    config = segmentation(
        request.config.rootpath, init_from=classifier, **{"model.stem_width": 16}
    )
    config = config_lib.resolve(config)
    with pytest.raises(
        UserError, match="does not match the model: .* arrays differ, for"
    ):
        assemble(
            config,
            13,
            axis_name=None,
            start=lambda variables: start(variables, config),
        )


def test_all_scales_of_a_crf_start_from_the_classifiers_last_stage(classifier, request):
    config = config_lib.load(
        f"{request.config.rootpath}/configs/quickstart.py:piecewise_crf,smoke"
    )
    config.init_from = classifier
    config = config_lib.resolve(config)
    fresh = untrained.random_variables(config)
    started = start(fresh, config)
    saved, _ = read.restore_variables(classifier)
    for kind in ("params", "batch_stats"):
        found, expected = flat(started[kind]["backbone"]), flat(saved[kind]["backbone"])
        later = {name for name in found if name.startswith(("scale2_", "scale3_"))}
        assert found.keys() - later == expected.keys()
        last = [name for name in expected if name.startswith("stage4_")]
        assert len(later) == 2 * len(last)
        for name, array in found.items():
            one = name.removeprefix("scale2_").removeprefix("scale3_")
            np.testing.assert_array_equal(array, expected[one], err_msg=name)


def test_a_classifier_is_not_exported_as_the_authors_network(
    classifier, tmp_path, capsys
):
    flags = ["--workdir", classifier, "--output", str(tmp_path / "x.safetensors")]
    command = ["torch_weights", "export", *flags, "--family", "authors"]
    assert cli.run(main, command) == 2
    assert "omit --family" in capsys.readouterr().err
