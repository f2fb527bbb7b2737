"""What a case of a fault is, and all that are known.

A case is a generator: it prepares a folder, yields the command, and after the command
has ended looks at what it must not have touched. Its name begins with the number of the
fault or with its kind, or with 'held' or 'new'.
"""

import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

MADE = ("run", "data", "hub")  # What fixtures.make can prepare for cases to copy.


class Case(NamedTuple):
    """A situation.

    Attributes:
        statuses: exit statuses that are right.
        says: what standard output and error must contain.
        run: folder -> generator of the command.
        needs: of MADE, what the folder must hold; see fixtures.make.
        traceback: whether a traceback is right: the fault is a bug, made on purpose.
    """

    statuses: tuple[int, ...]
    says: str
    run: Callable[[pathlib.Path], Iterator[list[str]]]
    needs: tuple[str, ...]
    traceback: bool


CASES: dict[str, Case] = {}


def case(name: str, statuses, says: str = "", *needs: str, traceback: bool = False):
    """Registers a generator under a name."""
    several = (statuses,) if isinstance(statuses, int) else tuple(statuses)
    assert set(needs) <= set(MADE), needs

    def register(run):
        assert name not in CASES, name
        CASES[name] = Case(several, says, run, needs, traceback)
        return run

    return register


def digest(path: pathlib.Path) -> str:
    """Returns what tells whether a file was changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
