"""Configures the memory allocator of the C library."""

import ctypes
import platform

import jax

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory for later allocations.

    Every training step on a CPU, and every input batch on any host, allocates arrays of
    the same large sizes. By default, glibc returns the memory of large arrays to the
    operating system, which clears every page before the next allocation. Clearing takes
    a third of the time of loading a batch, or of a training step of a small network.
    After a call of this function, the memory of the process never shrinks.
    Commands that limit their memory therefore do not call this function.

    Returns:
        Whether the settings took effect; False if the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = [(_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)]
    if jax.default_backend() == "cpu":
        # Steps need the main arena: only it grows beyond 64 MiB and keeps its pages. On
        # hosts of accelerators it is not forced: many threads allocate batches, which
        # are smaller, and would wait for a single arena.
        settings.append((_ARENA_MAX, 1))
    library = ctypes.CDLL(None)
    return all([library.mallopt(*setting) for setting in settings])
