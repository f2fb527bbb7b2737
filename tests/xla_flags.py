"""XLA's flags for tests: most programs run a few times, so that compiling counts."""

from importlib import metadata


def quick(level: int, devices: int) -> str:
    """Returns XLA_FLAGS for a CPU.

    Args:
        level: of LLVM's optimisation. 0 compiles in a third of the time of 1, and steps
            in double precision take five times as long.
        devices: virtual ones.
    """
    flags = (
        f"--xla_force_host_platform_device_count={devices}"
        f" --xla_backend_optimization_level={level}"
    )
    # Later releases have no other emitters, and refuse flags they do not know.
    if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
        flags += " --xla_cpu_use_fusion_emitters=false"
    return flags
