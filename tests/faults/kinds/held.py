"""Kills: what comes out is what a quiet run gives, bit for bit."""

import sys

from fixtures import PROJECT
from registry import case


@case("held kill -9 three times, bit-identical, train", 0, "bit-identical")
def kills(root):
    program = str(PROJECT / "benchmarks/faults.py")
    yield [sys.executable, program, "--kills=3", "--steps=120"]
