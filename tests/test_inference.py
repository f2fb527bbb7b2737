"""Networks in Python: inputs, results, and images labelled in tiles."""

import os
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
from encnet_jax.data.sources import decode
from encnet_jax.errors import UserError
from encnet_jax.evaluate.loading import Selection, load
from encnet_jax.inference import model as model_lib
from encnet_jax.inference import pixels, reading, tiles
from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward, Outputs
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.whole_images import WholeImages


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of random weights."""
    workdir = tmp_path_factory.mktemp("runs") / "untrained"
    untrained.save(workdir, **{"eval.scales": (0.5, 1.0)})
    return workdir


@pytest.fixture(scope="module")
def model(run):
    return encnet_jax.load(run)


def picture(height, width, seed=0):
    """Smooth random colours, so that labels form regions."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def evaluated(run, images, **options):
    network = load(str(run), Selection(**options))
    examples = [{"image": image, "id": i} for i, image in enumerate(images)]
    labelled = network.evaluator().predict(network.variables, examples)
    return {e["id"]: ids for e, ids in labelled}


@pytest.mark.parametrize("protocol", ["single", "multiscale"])
def test_labels_are_those_of_evaluation(run, protocol):
    images = [picture(60, 90), picture(64, 64, 1), picture(60, 90, 2)]
    results = encnet_jax.load(run, protocol=protocol)(images, scores=True)
    wanted = evaluated(run, images, protocol=protocol)
    for i, (image, result) in enumerate(zip(images, results, strict=True)):
        assert len(np.unique(wanted[i])) > 1
        np.testing.assert_array_equal(result.labels, wanted[i])
        np.testing.assert_array_equal(result.image, image)
        np.testing.assert_allclose(result.scores.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(result.confidence, result.scores.max(-1))
        chosen = np.take_along_axis(result.scores, result.labels[..., None], -1)
        np.testing.assert_array_equal(chosen[..., 0], result.confidence)


def test_every_kind_of_image_gets_the_same_labels(model, tmp_path):
    image = picture(40, 50)
    Image.fromarray(image).save(tmp_path / "a.png")
    wanted = model(image).labels
    assert wanted.shape == (40, 50) and wanted.dtype == np.uint8
    path = tmp_path / "a.png"
    for same in (Image.fromarray(image), str(path), path):
        np.testing.assert_array_equal(model(same).labels, wanted)
    np.testing.assert_array_equal(model(np.stack([image, image]))[1].labels, wanted)
    with pytest.raises(AttributeError, match="no scores were computed"):
        _ = model(image).scores


def test_results_are_in_order_and_iterators_are_read_lazily(model):
    images = [picture(30, 30 + 40 * (i % 3), i) for i in range(5)]
    results = model(images)
    assert [r.labels.shape for r in results] == [i.shape[:2] for i in images]
    np.testing.assert_array_equal(results[3].labels, model(images[3]).labels)
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield images[len(taken) % 5]

    found = model(endless())
    np.testing.assert_array_equal(next(found).labels, results[1].labels)
    assert len(taken) < 100


def test_images_that_are_expected_share_canvases(run, model, tmp_path, capsys):
    shared = encnet_jax.load(run)
    Image.fromarray(picture(60, 90)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    shared.expect([tmp_path / "large.png", tmp_path / "broken.png"])
    image = picture(40, 50)
    np.testing.assert_array_equal(shared(image).labels, model(image).labels)
    printed = capsys.readouterr().err
    assert printed == "compiling for images up to 90x60 (1 of 1)\n"


def test_only_some_images_of_a_large_folder_are_read_for_sizes(
    run, tmp_path, monkeypatch
):
    shared, read = encnet_jax.load(run), []
    monkeypatch.setattr(model_lib, "SIZES_READ", 4)
    monkeypatch.setattr(model_lib, "image_size", lambda _, name, __: (30, 40))
    monkeypatch.setattr(
        model_lib.storage, "read_bytes", lambda path, _: read.append(path.name)
    )
    shared.expect([tmp_path / str(i) for i in range(9)])
    assert read == ["0", "3", "6"]
    read.clear()
    shared.expect([])
    assert not read


def test_colour_images_have_the_colours_of_the_classes(model):
    result = model(picture(20, 30))
    colours = model.colours[result.labels]
    np.testing.assert_array_equal(result.colour(), colours)
    mixed = (result.image.astype(int) + colours) // 2
    np.testing.assert_array_equal(result.overlay(), mixed)
    assert len(result.class_names) == untrained.NUM_CLASSES


def test_models_and_results_are_described_briefly(model):
    assert re.fullmatch(r"<Model encnet, \w+, 13 classes, step \d+>", repr(model))
    result = model(np.zeros((30, 41, 3), np.uint8))
    assert re.fullmatch(r"<Result 41x30: \w+ \d+ %(, \w+ \d+ %)*>", repr(result))
    largest = np.bincount(result.labels.ravel()).argmax()
    assert repr(result).startswith(f"<Result 41x30: {model.class_names[largest]} ")
    assert {"Model", "Result", "UserError", "load"} <= set(dir(encnet_jax))


def test_a_missing_checkpoint_is_reported(run, tmp_path):
    assert encnet_jax.load(run, 0).step == 0
    with pytest.raises(UserError, match="no checkpoint 7"):
        encnet_jax.load(run, 7)
    with pytest.raises(UserError, match="no checkpoints in"):
        encnet_jax.load(tmp_path / "nothing")


def averaged(variables, values, inside=None):
    """Logits of stride 8 that depend only on the 8x8 pixels below them."""
    x = values.astype(jnp.float32) / 255
    if inside is not None:
        x = inside.only(x)
    x = x.reshape(x.shape[0], x.shape[1] // 8, 8, x.shape[2] // 8, 8, 3).mean((2, 4))
    strongest = (x @ jnp.abs(variables)).max((1, 2))
    return Outputs(x @ variables, strongest / (1 + strongest))


@pytest.mark.parametrize("mask_padding", [False, True])
@pytest.mark.parametrize("size", [(150, 200), (40, 333)])
def test_tiles_of_a_local_network_equal_the_whole_image(
    size, mask_padding, monkeypatch
):
    monkeypatch.setattr(tiles, "TILE_PX", 64)
    monkeypatch.setattr(tiles, "OVERLAP_PX", 24)
    monkeypatch.setattr(tiles, "BLOCK_PX", 32)
    devices = jax.local_devices()[:2]
    weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    variables = parallel.replicate(weights, devices)
    forward = Forward(averaged, 4, 1.0, 8, True, mask_padding)
    image = picture(*size)
    whole = WholeImages(
        forward,
        canvases=Canvases(8),
        batch_size=2,
        devices=devices,
        pixel_fn=pixels.everything,
    )
    ((_, wanted),) = whole.describe(variables, [{"image": image}])
    shares = []
    made = tiles.Tiles(forward, pixels.everything, bucket=8, devices=devices)
    found = made.describe(variables, image, shares.append)
    assert np.isclose(sum(shares), 1)
    assert len(np.unique(found["labels"])) > 1
    for name in ("scores", "confidence"):
        native = np.asarray(wanted.pixels[name])[0, 0, : size[0], : size[1]]
        np.testing.assert_allclose(found[name], native, atol=2e-5)
    # A class is in the image if it is in one of the tiles.
    np.testing.assert_allclose(found["presence"], wanted.presence[0, 0], rtol=1e-5)


def test_weights_of_tiles_sum_to_one(monkeypatch):
    side = tiles.plan_side(5000, 5000, 8, 64)
    assert side.starts[-1] + tiles.TILE_PX == 5000
    total = np.zeros(side.logits)
    for number, start in enumerate(side.starts):
        weights = side.weights(number)
        total[start // 8 : start // 8 + len(weights)] += weights
        assert 0 < weights.min() and weights.max() <= 1
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_only_large_images_are_tiled(run, monkeypatch):
    small, large = picture(90, 60), picture(91, 60)
    model = encnet_jax.load(run, whole_px=90 * 60)
    wanted = evaluated(run, [small])[0]
    results = model([small, large, small])
    np.testing.assert_array_equal(results[0].labels, wanted)
    np.testing.assert_array_equal(results[2].labels, wanted)
    # One tile is the whole image: all that differs is rounding.
    whole = encnet_jax.load(run)(large)
    np.testing.assert_allclose(results[1].confidence, whole.confidence, atol=1e-4)
    assert (results[1].labels == whole.labels).mean() > 0.999
    several = encnet_jax.load(run, protocol="multiscale", whole_px=90 * 60)
    with pytest.raises(UserError, match="60x91 pixels must be labelled in tiles"):
        several(large)
    # model.crf.features='scales': one row of logits per 8 / 1.2 pixels.
    model.forward = model.forward._replace(logits_stride=8 / 1.2)
    with pytest.raises(UserError, match="a distance of 6.67 pixels: increase"):
        model(large)


def test_the_best_classes_of_every_pixel():
    logits = jnp.log(jnp.asarray([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]]))
    found = pixels.largest(2)(logits, jax.nn.softmax(logits, axis=-1))
    np.testing.assert_array_equal(found["top_classes"][0], [0, 2])
    np.testing.assert_allclose(found["top_probabilities"][0], [0.5, 0.3], atol=1e-3)
    np.testing.assert_array_equal(found["confidence"], [32768, 65535])
    entropy = -sum(p * np.log(p) for p in (0.5, 0.2, 0.3)) / np.log(3)
    np.testing.assert_allclose(found["entropy"] / 65535, [entropy, 0], atol=1e-4)


def save(tmp_path, name, picture, **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_orientation_is_applied(tmp_path):
    image, exif = picture(20, 30), Image.Exif()
    exif[0x0112] = 6  # Turned by a quarter to the right for showing.
    path = save(tmp_path, "a.png", Image.fromarray(image), exif=exif)
    for source in (path, Image.open(path)):
        np.testing.assert_array_equal(reading.read(source), np.rot90(image, -1))


def test_grey_and_16_bits(tmp_path):
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4)
    path = save(tmp_path, "a.png", Image.fromarray(grey))
    rules = decode.ImageRules(value_range=(0, 11))
    for source in (path, Image.open(path), grey):
        with pytest.raises(UserError, match=r"(uint16|16).*data\.value_range"):
            reading.read(source)
        read = reading.read(source, rules)
        np.testing.assert_array_equal(read[..., 2], np.round(grey * (255 / 11)))
    np.testing.assert_array_equal(reading.read(grey.astype(np.uint8))[..., 1], grey)


def test_animated_and_damaged_images_are_refused(tmp_path):
    frames = [Image.new("L", (8, 8), i) for i in range(3)]
    path = save(tmp_path, "a.tif", frames[0], save_all=True, append_images=frames[1:])
    for source in (path, Image.open(path)):
        with pytest.raises(UserError, match="3 frames"):
            reading.read(source)
    path = save(tmp_path, "a.png", Image.new("RGB", (30, 20)))
    message = "a.png: has 30x20 pixels; expected at most 599"
    with pytest.raises(UserError, match=message):
        reading.read(path, decode.ImageRules(max_pixels=599))
    assert reading.read(path, decode.ImageRules(max_pixels=600)).shape == (20, 30, 3)
    path.write_bytes(path.read_bytes()[:50])  # Amid the pixels.
    with pytest.raises(UserError, match="a.png: cannot be decoded"):
        reading.read(path)
    with pytest.raises(UserError, match="nothing.png: No such file or directory"):
        reading.read(tmp_path / "nothing.png")
    with pytest.raises(UserError, match=r"shape \(2, 2, 4\); expected \[H, W, 3\]"):
        reading.read(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(UserError, match="an image has the type int; expected an array"):
        reading.read(3)


WITHOUT_TENSORFLOW = """
import sys
import time
start = time.process_time()  # Of the processor: other programs run beside this one.
import encnet_jax
took = time.process_time() - start
assert "jax" not in sys.modules and "numpy" not in sys.modules
for name in ("tensorflow", "tensorflow_datasets", "torch", "pycocotools"):
    sys.modules[name] = None
import numpy as np
model = encnet_jax.load(sys.argv[1])
print(took, model(np.zeros((20, 30, 3), np.uint8)).labels.shape)
"""


def test_a_process_without_tensorflow_loads_and_labels(run):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # Nobody asked for a log.
    took, shape = done.stdout.split(maxsplit=1)
    assert shape == "(20, 30)\n" and float(took) < 0.1
