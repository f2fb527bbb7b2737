"""Each fault that was found, and what held, as a command of its own."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import fixtures
import table
from registry import CASES, MADE

LIMIT_S = 600.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and a run, and prepared data, that cases copy."""
    root = tmp_path_factory.mktemp("made")
    fixtures.make(root, set(MADE))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_reported_in_one_line(name, tmp_path, made):
    root = tmp_path / "case"
    root.mkdir()
    outcome = table.try_case(name, root, limit_s=LIMIT_S, made=made)
    assert outcome.verdict == "ok", outcome


def test_verdicts_of_the_faults_table():
    name = "14 seed=-1, train"

    def judged(status, text, after=()):
        return table.judge(CASES[name], status, text, iter(after))

    assert judged(2, "error: seed is -1") == "ok"
    assert judged(None, "") == "HANGS"
    assert judged(1, "Traceback (most recent call last):") == "TRACEBACK"
    assert judged(0, "trained; seed") == "status 0; expected 2"
    assert judged(2, "error: no") == "does not say 'seed'"

    def touched():
        raise AssertionError("a file")
        yield

    assert judged(2, "seed", touched()) == "touched what it must not: a file"
