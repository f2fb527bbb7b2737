"""Settings of the C library's allocator for large arrays."""

import ctypes
import platform

import jax

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Keeps freed memory in the process.

    Each step on a CPU, and each batch of input on any host, allocates the same large
    arrays as the one before. glibc returns large arrays to the system, which clears
    every page again: a third of the time of a small network's step, and of a batch.
    The process then stays at its peak size, so commands that limit their peak do not
    call this.

    Returns:
        Whether it took effect: only with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = [(_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)]
    if jax.default_backend() == "cpu":
        # Only the main arena grows beyond 64 MiB without new pages each time, which
        # steps need. On the host of an accelerator, many threads allocate batches,
        # which are smaller, and would wait for a single arena.
        settings.append((_ARENA_MAX, 1))
    library = ctypes.CDLL(None)
    return all([library.mallopt(*setting) for setting in settings])
