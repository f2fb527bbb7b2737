"""Few canvases for many sizes: their choice, equal labels, and compilation ahead."""

import itertools
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_segmenter import random_image

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.config import defaults
from encnet_jax.data.check import facts
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError
from encnet_jax.evaluate import calibrate, search
from encnet_jax.evaluate.loading import Selection
from encnet_jax.pods import parallel
from encnet_jax.report import compare
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward, Outputs
from encnet_jax.scoring.protocols.canvases import AheadOfTime, Canvases, choose
from encnet_jax.tasks import network as network_lib

SIZES = [(40, 60), (60, 40), (33, 49), (24, 30), (40, 60), (52, 58), (20, 70)]


def pixels(rooms, sizes, bucket):
    """Pixels of the smallest fitting canvas of each image, by a loop."""
    total = 0
    for height, width in sizes:
        fitting = [
            -(-h // bucket) * -(-w // bucket) * bucket**2
            for h, w in rooms
            if h >= height and w >= width
        ]
        total += min(fitting, default=np.inf)
    return total


@pytest.mark.parametrize("most", [1, 2, 3])
def test_few_other_choices_of_canvases_have_fewer_pixels(most):
    rng, exact = np.random.default_rng(most), 0
    for _ in range(20):
        # Similar enough that every image may share a canvas with every other.
        sizes = [tuple(map(int, s)) for s in rng.integers(150, 200, (9, 2))]
        found = choose(sizes, 16, most)
        assert len(found) <= most
        sides = ({-(-s[i] // 16) * 16 for s in sizes} for i in (0, 1))
        every = itertools.combinations(itertools.product(*sides), most)
        least = min(pixels(rooms, sizes, 16) for rooms in every)
        assert pixels(found, sizes, 16) <= 1.01 * least
        exact += pixels(found, sizes, 16) == least
    assert exact >= 19


def test_canvases_equal_a_choice_by_hand():
    assert choose([(360, 480)] * 101, 64) == [(360, 480)]
    assert choose([], 64) == []
    # Rooms are as large as the images, not as their canvases.
    assert choose([(10, 30), (12, 20), (100, 90)], 64) == [(12, 30), (100, 90)]
    # A canvas of 512 x 512 would have eight times the pixels of one of them.
    assert choose([(10, 500), (500, 10)], 64, most=1) == [(10, 500)]
    assert len(choose([(s, 9000 - s) for s in range(100, 8900, 40)], 64)) == 4
    chosen = Canvases(64, [(10, 30), (12, 20), (100, 90)])
    assert chosen.room(12, 30) == (12, 30) and chosen.room(13, 30) == (100, 90)
    assert chosen.room(101, 7) == (101, 7)


class Local:
    """Logits of stride 8 that depend only on the 8x8 pixels below them, inside."""

    def __init__(self):
        self.traced = []

    def __call__(self, variables, values, inside=None):
        self.traced.append(values.shape[1:3])
        x = values.astype(jnp.float32) / 255
        if inside is not None:
            x = inside.only(x)
        x = x.reshape(x.shape[0], x.shape[1] // 8, 8, x.shape[2] // 8, 8, 3)
        return Outputs(x.mean((2, 4)) @ variables["weights"])


def examples():
    for index, (height, width) in enumerate(SIZES):
        label = np.full((height, width), index % 4, np.uint8)
        yield {"image": random_image(height, width, index), "label": label, "id": index}


def evaluated(protocol, *, sizes=tuple, mask_padding=True, calibration=False):
    """Returns (predictions by id, counts, shapes that were compiled)."""
    config = defaults.get_config()
    fields = {"protocol": protocol, "bucket": 16, "scales": (0.5, 1.0)}
    config.eval.update(fields | {"base_size": 40, "crop_size": 32})
    settings, traced = config_lib.resolve(config).eval, Local()
    forward = Forward(traced, 4, 1.0, 8, True, mask_padding)
    weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    devices = jax.local_devices()[:1]
    evaluator = Evaluator(
        forward, settings, devices=devices, sizes=sizes, with_calibration=calibration
    )
    seen = {}
    counted = evaluator.confusion(
        {"weights": weights},
        examples(),
        watches=(lambda example, found: seen.update({example["id"]: found.ids()}),),
    )
    return seen, counted.counts, traced.traced


@pytest.mark.parametrize("protocol", ["single", "multiscale", "release"])
def test_shared_canvases_change_no_label(protocol, capsys):
    alone, counts, many = evaluated(protocol)
    assert "compiling" not in capsys.readouterr().err
    calibration = protocol == "single"
    found, shared, few = evaluated(
        protocol, sizes=lambda: SIZES, calibration=calibration
    )
    np.testing.assert_array_equal(shared, counts)
    for index, labels in found.items():
        assert labels.shape == SIZES[index]
        np.testing.assert_array_equal(labels, alone[index])
    assert len({id for labels in found.values() for id in np.unique(labels)}) > 1
    lines = capsys.readouterr().err.splitlines()
    if protocol == "release":
        assert len(few) == len(many) == 1 and not lines
        return
    scales = {"single": 1, "multiscale": 2}[protocol]
    assert len(many) > 4 * scales and len(few) == 4 * scales == len(lines)
    assert lines[0].startswith("compiling for images up to ")
    assert lines[-1].endswith(f"({4 * scales} of {4 * scales})")
    assert ("at scale 0.5" in " ".join(lines)) == (protocol == "multiscale")


def test_a_network_that_padding_affects_shares_no_canvas():
    def unused():
        raise AssertionError("sizes were read")

    *_, many = evaluated("single", mask_padding=False, sizes=unused)
    assert len(many) == len({(-(-h // 16), -(-w // 16)) for h, w in SIZES})


class Images:
    """A source of one split, with the images of `examples`."""

    def sizes(self):
        return {"train": len(SIZES)}

    def example(self, split, index):
        found = list(examples())[index]
        return Example(str(index), found["image"], found["label"])


REPORTS = {
    "compare": lambda network, dataset: compare.predictions(
        ["run"], Selection(split="train"), (), len(SIZES)
    ),
    "calibrate": lambda network, dataset: calibrate.sampled_pixels(
        network, dataset, "train", len(SIZES)
    ),
    "refine": lambda network, dataset: search.TrainingScores(network, len(SIZES)),
}


@pytest.mark.parametrize("report", REPORTS)
def test_reports_compile_one_program_for_each_canvas(report, monkeypatch):
    network = Local()

    def evaluator(self, **options):
        forward, devices = Forward(network, 4, 1.0, 8, True, True), jax.local_devices()
        return Evaluator(forward, self.config.eval, devices=devices[:1], **options)

    config = config_lib.load("configs/quickstart.py:smoke")
    config.eval.bucket, config.eval.dense.radius = 16, 2
    resolved = config_lib.resolve(config, config_lib.Facts(8))
    variables = {"weights": np.ones((3, 4), np.float32)}
    loaded = network_lib.build(variables, resolved, 0)
    dataset = Dataset(named_info("scenes"), Images(), resolved.data)
    monkeypatch.setattr(network_lib.Network, "evaluator", evaluator)
    monkeypatch.setattr(tasks, "open_dataset", lambda config: dataset)
    monkeypatch.setattr(compare, "load", lambda *_, **__: loaded)
    REPORTS[report](loaded, dataset)
    assert len(network.traced) == len(set(network.traced)) == 4


class Compiler:
    """A mapped function that records where it is lowered, compiled and called."""

    def __init__(self, broken=()):
        self.log, self.broken, self.free = [], broken, threading.Event()
        self.free.set()

    def __call__(self, variables, size):
        self.log.append(("call", size))
        return variables + size

    def lower(self, variables, size):
        assert threading.current_thread() is threading.main_thread()
        self.log.append(("lower", size))
        return types.SimpleNamespace(compile=lambda: self.compile(size))

    def compile(self, size):
        assert threading.current_thread() is not threading.main_thread()
        assert self.free.wait(60)
        if size in self.broken:
            raise RuntimeError("RESOURCE_EXHAUSTED")
        self.log.append(("compile", size))


KEYS = [(10, 10, 1.0), (20, 20, 1.0), (30, 30, 1.0)]


def ahead_of_time(compiler):
    return AheadOfTime(compiler, KEYS, lambda key: (key[0],))


def test_one_program_is_compiled_ahead_and_a_call_waits_only_for_its_own(capsys):
    compiler = Compiler()
    program = ahead_of_time(compiler)
    compiler.free.clear()
    assert program(KEYS[0], 1, 10) == 11
    # The second is being compiled: the third is compiled by its own call.
    assert program(KEYS[2], 1, 30) == 31
    assert program((7, 7, 1.0), 1, 7) == 8  # Unexpected.
    calls = [("call", size) for size in (30, 7)]
    assert compiler.log == [("call", 10), ("lower", 20), *calls]
    compiler.free.set()
    assert program(KEYS[1], 1, 20) == 21
    assert compiler.log[4:] == [("compile", 20), ("call", 20)]
    assert capsys.readouterr().err.splitlines() == [
        f"compiling for images up to {size}x{size} ({number} of 3)"
        for number, size in enumerate((10, 20, 30), start=1)
    ]


def test_a_program_that_cannot_be_compiled_ahead_is_called_as_usual():
    compiler = Compiler(broken=(20,))
    program = ahead_of_time(compiler)
    assert program(KEYS[0], 1, 10) == 11 and program(KEYS[1], 1, 20) == 21
    assert ("compile", 20) not in compiler.log and ("call", 20) in compiler.log


def test_several_processes_compile_nothing_ahead(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    compiler = Compiler()
    program = ahead_of_time(compiler)
    assert [program(key, 1, key[0]) for key in KEYS] == [11, 21, 31]
    assert [kind for kind, _ in compiler.log] == ["call"] * 3
    assert "(3 of 3)" in capsys.readouterr().err
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    ahead_of_time(Compiler())(KEYS[0], 1, 10)
    assert not capsys.readouterr().err  # Process 0 prints.


def test_a_program_that_was_compiled_ahead_is_not_compiled_again():
    threads, event = [], "/jax/core/compile/backend_compile_duration"

    def listen(name, seconds, **_):
        if name == event:
            threads.append(threading.current_thread())

    devices = jax.local_devices()[:2]
    mapped = parallel.mapped(
        lambda weight, x: weight * x, (parallel.SHARED, parallel.ROWS), devices=devices
    )
    program = AheadOfTime(
        mapped, KEYS[:2], lambda key: (parallel.spread(np.ones((2, key[0])), devices),)
    )
    weight = parallel.replicate(np.float32(3), devices)
    inputs = [parallel.spread(np.ones((2, size)), devices) for size in (10, 20)]
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for key, x in zip(KEYS, inputs, strict=False):
            assert np.all(np.asarray(program(key, weight, x)) == 3)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    main = threading.main_thread()
    assert [thread is main for thread in threads] == [True, False]


class Headers:
    """A source whose second image is broken."""

    def sizes(self):
        return {"train": 1, "val": 3}

    def image_size(self, split, index):
        if index == 1:
            raise UserError("b.png: cannot be decoded")
        return (index + 5, 7)


def test_sizes_come_from_headers_and_skip_broken_images():
    dataset = Dataset(None, Headers(), None)
    assert dataset.image_sizes("val", range(3)) == [(5, 7), (7, 7)]
    share = dataset.eval_share("val", process_index=1, process_count=2, max_images=2)
    assert list(share) == [1]


def test_pixels_to_score_are_estimated_from_some_sizes(monkeypatch):
    config = config_lib.load("configs/quickstart.py:smoke")
    config.data.val_split, config.eval.crop_size = "val", 6
    config.eval.scales, config.data.input_scale = (0.5, 1.0), 2.0
    dataset = Dataset(named_info("scenes"), Headers(), config.data)

    def pixels(protocol="single", max_images=0):
        config.eval.max_images = max_images
        return facts.scored_pixels(dataset, config.eval, protocol)

    whole = 3 * (5 * 7 + 7 * 7) / 2 * 2**2
    assert pixels() == whole
    assert pixels("multiscale") == whole * 1.25 * 2 == pixels("release")
    assert pixels("centre_crop") == 3 * 6 * 6
    assert pixels(max_images=1) == 5 * 7 * 2**2
    monkeypatch.setattr(facts, "_SIZES_READ", 1)
    assert pixels() == 3 * 5 * 7 * 2**2
    config.data.val_split = ""
    assert pixels() == 0
