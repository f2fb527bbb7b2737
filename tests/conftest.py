"""Eight virtual CPU devices for every test, and the reference data where it is."""

import importlib.util
import os
import pathlib
import tempfile

import xla_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {xla_flags.quick(level=0, devices=8)}"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Many files compile the same small programs: each is compiled once, and never again.
CACHE = pathlib.Path(tempfile.gettempdir()) / "encnet_jax-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# The environment must be set before JAX is imported.
import jax  # noqa: E402
import pytest  # noqa: E402
import reference_models  # noqa: E402
import shape_checks  # noqa: E402

# An axis or a type that JAX adds in silence is a mistake more often than a wish. Not in
# the environment: programs that tests start run as users run them.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

shape_checks.install()

# Files of few and long tests. `make test` leaves them out. They run first: the last
# files on two processes are short, and neither process waits long for the other.
LONG = {
    "test_backbones",
    "test_benchmarks",
    "test_classification",
    "test_day_one",
    "test_distributed",
    "test_export",
    "test_extending",
    "test_folding",
    "test_golden_cifar",
    "test_golden_crf",
    "test_golden_duc",
    "test_golden_init",
    "test_golden_models",
    "test_golden_train_step",
    "test_initial_weights",
    "test_inside",
    "test_models_counts",
    "test_piecewise_crf_run",
    "test_refinement",
    "test_storage",
    "test_torch_weights_networks",
    "test_torch_weights_training",
    "test_train_loop",
    "test_train_step",
    "test_validation_failures",
}

OURS = {path.stem for path in pathlib.Path(__file__).parent.rglob("*.py")}
OURS |= {"encnet_jax", "configs", "benchmarks", "train", "eval", "predict"}


def pytest_configure(config):
    """Turns warnings into errors: those that our modules are named in, and pmap's."""
    names = "|".join(sorted(OURS))
    config.addinivalue_line("filterwarnings", rf"error:::({names})(\.|$)")
    # Whichever module these name: a deprecated pmap may warn from inside of JAX.
    config.addinivalue_line("filterwarnings", "error:.*pmap:DeprecationWarning")


def pytest_collection_modifyitems(config, items):
    """Puts LONG first, as `long`; skips `slow` and `gpu` unless -m is given.

    `tf` tests are left out where TensorFlow is not installed.
    """
    items.sort(key=lambda item: item.path.stem not in LONG)
    for item in items:
        if item.path.stem in LONG:
            item.add_marker("long")
    if importlib.util.find_spec("tensorflow") is None:
        for item in items:
            if "tf" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="TensorFlow is not installed"))
    if config.option.markexpr:
        return
    for item in items:
        for mark in ("slow", "gpu"):
            if mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"{mark}: ask with -m {mark}"))


@pytest.fixture(scope="session")
def reference_dir() -> pathlib.Path:
    """The folder of reference outputs and sample data; skips where it is absent.

    Continuous integration sets ENCNET_REQUIRE_REFERENCE, and then fails instead.
    """
    path = reference_models.FOLDER
    if (path / "golden").is_dir():
        return path
    if os.environ.get("ENCNET_REQUIRE_REFERENCE"):
        pytest.fail(f"no reference data in {path}, and ENCNET_REQUIRE_REFERENCE is set")
    pytest.skip(f"no reference data in {path}: set ENCNET_REFERENCE_DIR")
