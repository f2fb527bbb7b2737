"""How the C library's allocator treats the large arrays of steps and of input."""

import ctypes
import platform

import jax

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Lets the process keep memory that it frees.

    A step on a CPU allocates the same large arrays as the one before, and so does every
    batch of input on any host. glibc gives large ones back to the system, which clears
    each page again for the next: a third of the time of a small network's step, and as
    much of a batch's. Afterwards the process is as large as it was at its largest, so
    commands whose peak is what counts do not call this.

    Returns:
        Whether it took effect: not where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = [(_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)]
    if jax.default_backend() == "cpu":
        # Of all arenas only the main one grows beyond 64 MiB without new pages each
        # time, as steps need. An accelerator's host has many threads that allocate
        # batches, which are smaller, and would wait for one arena.
        settings.append((_ARENA_MAX, 1))
    library = ctypes.CDLL(None)
    return all([library.mallopt(*setting) for setting in settings])
