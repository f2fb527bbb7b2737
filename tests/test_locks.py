"""The lock files of .ci/run fit the requirements; `make lock` renews them."""

import pathlib
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = pathlib.Path(__file__).parent.parent
FILES = ("run", "train", "dev", "export", "docs")
ENVIRONMENTS = {"lowest": "3.11", "highest": "3.13", "preview": "3.14"}


def required(python):
    """Yields the requirements that apply on a Python on Linux."""
    where = {
        "python_version": python,
        "platform_machine": "x86_64",
        "sys_platform": "linux",
    }
    for name in FILES:
        text = (PROJECT / "requirements" / f"{name}.txt").read_text()
        for line in re.findall(r"(?m)^[A-Za-z].*", text):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(where):
                yield requirement


def locked(end):
    text = (PROJECT / "requirements" / f"lock-{end}.txt").read_text()
    return dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", text))


@pytest.mark.parametrize("end", ENVIRONMENTS)
def test_locked_versions_satisfy_the_requirements(end):
    versions = locked(end)
    for requirement in required(ENVIRONMENTS[end]):
        version = versions.get(canonicalize_name(requirement.name))
        fits = version is not None and requirement.specifier.contains(version)
        assert fits, f"{requirement}, locked {version}: run `make lock`"


def test_the_lowest_versions_are_the_lower_bounds():
    versions = locked("lowest")
    for requirement in required("3.11"):
        (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
        version = versions[canonicalize_name(requirement.name)]
        parts = version.split(".")[: bound.count(".") + 1]
        exact = version == bound or parts == bound.split(".")
        assert exact, f"{requirement}, locked {version}: run `make lock`"


def test_python_3_14_has_no_tensorflow():
    for end, present in (("lowest", True), ("highest", True), ("preview", False)):
        assert ("tensorflow-cpu" in locked(end)) == present
        assert ("tensorflow-datasets" in locked(end)) == present
        assert {"jax", "array-record", "opencv-python-headless"} <= set(locked(end))
