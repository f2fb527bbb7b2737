"""Scores: on which devices, of what networks."""

import numpy as np
from fixtures import command
from registry import case


@case("new fewer images than devices, eval", 0, "8 images", "run")
def few_images(root):
    devices = "XLA_FLAGS=--xla_force_host_platform_device_count=16"
    yield ["env", devices, *command("eval.py", f"--workdir={root}/run")]


@case("new one image on eight devices, eval", 0, "1 images", "run")
def one_image(root):
    for path in (root / "r/val").glob("*/[1-7].*"):
        path.unlink()
    devices = "XLA_FLAGS=--xla_force_host_platform_device_count=8"
    yield ["env", devices, *command("eval.py", f"--workdir={root}/run")]


def overflowing(root) -> None:
    """Multiplies the last kernels, so that logits are infinite."""
    import shutil

    import jax

    from encnet_jax.checkpoints import read

    variables, config = read.restore_variables(str(root / "run"))
    large = jax.tree.map(
        lambda x: np.full_like(x, 3e38) if x.ndim == 4 else x, variables
    )
    shutil.rmtree(root / "run/checkpoints")
    read.save_variables(str(root / "run"), large, config)


for protocol in ("single", "multiscale"):

    @case(f"4 logits that overflow, eval {protocol}", 0, "were NaN or infinite", "run")
    def logits(root, protocol=protocol):
        overflowing(root)
        more = f"--protocol={protocol}"
        yield command("eval.py", f"--workdir={root}/run", more)


@case("4 logits that overflow, predict", 1, "NaN or infinite", "run")
def labels(root):
    overflowing(root)
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert not list((root / "o").glob("*.png"))


@case("new no images of the split, eval", 2, "no", "run")
def no_images(root):
    import shutil

    shutil.rmtree(root / "r/val/images")
    yield command("eval.py", f"--workdir={root}/run")


@case("new an image without its mask, eval", 2, "3", "run")
def no_mask(root):
    (root / "r/val/masks/3.png").unlink()
    yield command("eval.py", f"--workdir={root}/run")
