"""What surrounds the program: devices, memory, caches, libraries, names, terminals."""

from fixtures import as_nobody, command, flags, folder_set, program
from registry import case


def scored(root) -> list[str]:
    return command("eval.py", f"--workdir={root}/run")


for platform in ("cuda", "tpu"):

    @case(f"21 JAX_PLATFORMS={platform} without one, eval", 2, "JAX finds no", "run")
    def no_device(root, platform=platform):
        yield ["env", f"JAX_PLATFORMS={platform}", *scored(root)]


@case("21 0.7 GB of address space, eval", 2, "ulimit -v unlimited", "run")
def address_space(root):
    yield ["bash", "-c", 'ulimit -v 700000; exec "$@"', "_", *scored(root)]


@case("new unwritable compilation cache, eval", 0, "pixel_accuracy", "run")
def unwritable_cache(root):
    (root / "cache").mkdir(mode=0o555)
    cache = f"JAX_COMPILATION_CACHE_DIR={root}/cache"
    yield as_nobody(root, ["env", cache, *scored(root)])


@case("new a file for a compilation cache, eval", 0, "pixel_accuracy", "run")
def file_for_cache(root):
    (root / "cache").write_text("")
    yield ["env", f"JAX_COMPILATION_CACHE_DIR={root}/cache", *scored(root)]


@case("new corrupt compilation cache, eval", 0, "pixel_accuracy", "run")
def corrupt_cache(root):
    import shlex

    line = shlex.join(scored(root))
    break_all = f"for f in {root}/cache/*; do echo broken > $f; done"
    cache = f"export JAX_COMPILATION_CACHE_DIR={root}/cache"
    once = "export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0"
    yield [
        "bash",
        "-c",
        f"{cache}; {once}; {line} >/dev/null 2>&1; {break_all}; {line}",
    ]
    assert len(list((root / "cache").iterdir())) > 0


@case("held eight devices, batch of 4, train", 2, "multiple of 8")
def eight_devices(root):
    folder_set(root / "r")
    devices = "XLA_FLAGS=--xla_force_host_platform_device_count=8"
    words = command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    yield ["env", devices, *words]


WITHOUT = """
import sys

sys.modules["tensorflow"] = None
from encnet_jax import cli
import {name}

cli.start({name}.main)
"""


@case("held no TensorFlow, train with arrays", 0, "trained 4 steps")
def arrays_alone(root):
    folder_set(root / "r")
    words = *flags(root / "r"), f"--workdir={root}/w"
    yield program(root, WITHOUT.format(name="train"), *words)


@case("held no TensorFlow, train with tf.data", 2, "data.reader")
def no_tensorflow(root):
    folder_set(root / "r")
    words = *flags(root / "r", reader="tfds"), f"--workdir={root}/w"
    yield program(root, WITHOUT.format(name="train"), *words)


@case("held no TensorFlow, eval", 0, "pixel_accuracy", "run")
def eval_alone(root):
    yield program(root, WITHOUT.format(name="eval"), f"--workdir={root}/run")


@case("held odd surroundings and names, eval", 0, "pixel_accuracy", "run")
def surroundings(root):
    (root / "ein Läuf ..").mkdir()
    (root / "run").rename(root / "ein Läuf ../run")
    words = command("eval.py", f"--workdir={root}/r/../ein Läuf ../run")
    odd = ["-u", "HOME", "LC_ALL=C", "TERM=dumb", "-u", "JAX_COMPILATION_CACHE_DIR"]
    yield ["env", "-u", "HOME", "-u", odd[-1], "LC_ALL=C", "TERM=dumb", *words]


@case("held HOME cannot be written, eval", 0, "pixel_accuracy", "run")
def home(root):
    (root / "home").mkdir(mode=0o555)
    variables = [f"HOME={root}/home", "-u", "JAX_COMPILATION_CACHE_DIR"]
    yield as_nobody(root, ["env", *variables[1:], variables[0], *scored(root)])
