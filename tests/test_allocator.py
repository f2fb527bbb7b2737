"""Memory that is freed stays with the process where its commands ask for that."""

import functools
import platform
import subprocess
import sys

import pytest

FAULTS_OF_TWENTY_ARRAYS = """
import resource, sys
import numpy as np
from encnet_jax.pods import allocator
if sys.argv[1] == "keep beside an accelerator":
    allocator.jax.default_backend = lambda: "tpu"
if sys.argv[1].startswith("keep"):
    assert allocator.keep_freed_memory()
np.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@functools.cache
def page_faults(word: str) -> int:
    command = [sys.executable, "-c", FAULTS_OF_TWENTY_ARRAYS, word]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize("word", ["keep", "keep beside an accelerator"])
def test_steps_reuse_the_memory_pages_of_earlier_steps(word):
    """128 MiB, freed and allocated again: new pages each time, or the same."""
    assert page_faults(word) < 0.1 * page_faults("give back")
