"""Measures time and memory of the dense CRF, against pydensecrf2 if it is installed.

taskset -c 0 python -m benchmarks.refine [--height 375 --width 500 --classes 21]
python -m benchmarks.refine --v5e

`pip install pydensecrf2` builds the library with g++, on Python 3.11 and 3.12. It
filters with a lattice, so its kernels are not cut off; ours are cut off at the radius.
Memory is the compiler's analysis, without arguments and results. With --v5e nothing is
executed: the time is that TPU compiler's estimate for one chip (requirements/plan.txt).
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from encnet_jax.config import defaults
from encnet_jax.crf import dense
from encnet_jax.plan import chips
from encnet_jax.plan.compiled_text import estimated_cycles
from encnet_jax.scoring.protocols.dense_refined import params_of


def make_scene(height: int, width: int, num_classes: int):
    """Returns probabilities f32[H, W, C] and an image uint8[H, W, 3] of noisy tiles."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (height // 25 + 1, width // 25 + 1, 3))
    image = np.kron(tiles, np.ones((25, 25, 1)))[:height, :width]
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    logits = rng.normal(0, 2, (height, width, num_classes)).astype(np.float32)
    return jax.nn.softmax(jnp.asarray(logits)), image


def compiled_refine(scene, params, radius: int, iterations: int, device=None):
    """Returns the compiled program; `device` may be one that is not present."""
    sharding = device and jax.sharding.SingleDeviceSharding(device)
    program = jax.jit(
        functools.partial(dense.refine, radius=radius, iterations=iterations),
        in_shardings=sharding,
    )
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), scene)
    return program.lower(*shapes, params).compile()


def on_v5e(scene, params, radius: int, iterations: int) -> dict:
    """Returns the row of a v5e chip: modelled seconds, temporary MiB.

    The compiler counts loops once. The program without updates gives the cost of the
    kernels' sums, and one additional update gives the cost per update.
    """
    _, devices = chips.open_topology("v5e:2x2")
    trips = -(-scene[1].shape[0] // dense.TILE)
    compiled = [
        compiled_refine(scene, params, radius, n, devices[0])
        for n in (0, 1, iterations)
    ]
    sums, one, _ = (estimated_cycles(x.as_text(), trips) for x in compiled)
    cycles = sums + iterations * (one - sums)
    temporary = compiled[2].memory_analysis().temp_size_in_bytes / 2**20
    return {"modelled_s": cycles / measure.V5E_CLOCK_HZ, "temporary_mib": temporary}


def ours(scene, params, radius: int, iterations: int):
    """Returns (a function that refines, temporary MiB)."""
    probabilities, image = scene
    compiled = compiled_refine(scene, params, radius, iterations)
    temporary = compiled.memory_analysis().temp_size_in_bytes / 2**20
    arguments = probabilities, jnp.asarray(image), params
    return lambda: jax.block_until_ready(compiled(*arguments)), temporary


def library(probabilities, image, params, iterations: int):
    """Returns a function that refines, or None if pydensecrf2 is not installed."""
    try:
        from pydensecrf import densecrf
    except ImportError:
        return None
    height, width, num_classes = probabilities.shape
    energy = -np.log(np.maximum(np.asarray(probabilities), 1e-30))
    energy = energy.reshape(-1, num_classes).T.copy()

    def run():
        crf = densecrf.DenseCRF2D(width, height, num_classes)
        crf.setUnaryEnergy(energy)
        crf.addPairwiseGaussian(sxy=params.spatial_px, compat=params.spatial_weight)
        crf.addPairwiseBilateral(
            sxy=params.bilateral_px,
            srgb=params.bilateral_levels,
            rgbim=image.copy(),
            compat=params.bilateral_weight,
        )
        return crf.inference(iterations)

    return run


def main():
    """Times both alternately and prints a table."""
    settings = defaults.get_config().eval.dense
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--radius", type=int, default=settings.radius)
    parser.add_argument("--iterations", type=int, default=settings.iterations)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--v5e", action="store_true", help="compile, and run nothing")
    args = parser.parse_args()
    params = params_of(settings)
    scene = make_scene(args.height, args.width, args.classes)
    title = "dense refinement of one image"
    if args.v5e:
        row = on_v5e(scene, params, args.radius, args.iterations)
        measure.report(title, {"v5e, modelled": row}, vars(args))
        return
    refine, temporary = ours(scene, params, args.radius, args.iterations)
    candidates = {"ours": refine}
    other = library(*scene, params, args.iterations)
    if other is None:
        print("pydensecrf2 is not installed: ours alone")
    else:
        candidates["pydensecrf2"] = other
    rows = measure.summarise(measure.alternate(candidates, args.repeats), "ours")
    for name, row in rows.items():
        row["temporary_mib"] = temporary if name == "ours" else "-"
    measure.report(title, rows, vars(args))


if __name__ == "__main__":
    main()
