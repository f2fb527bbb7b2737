"""How the C library's allocator treats the large arrays of a step on a CPU."""

import ctypes
import platform

import jax

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Lets the process keep memory that it frees, where JAX computes on the CPU.

    A step on a CPU allocates the same large arrays as the one before. glibc gives those
    above 32 MiB back to the system, which clears each page again for the next step: a
    third of the time of a small network. Afterwards the process is as large as it was
    at its largest, so commands whose peak is what counts do not call this.

    Returns:
        Whether it took effect: not where the C library is not glibc, nor where there is
        an accelerator, whose host has many threads to allocate for.
    """
    if jax.default_backend() != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    # Of all arenas only the main one grows beyond 64 MiB without new pages each time.
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    return all([library.mallopt(*setting) for setting in settings])
