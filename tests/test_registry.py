"""Registries of members by name, and the fields that they declare."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from encnet_jax.errors import UserError
from encnet_jax.fields import FLAG, Field, above, at_least, between, one_of, several
from encnet_jax.registry import Registry, discover


def heads() -> Registry:
    return Registry("head", {"join": "os.path:join", "two": 2})


def test_names_import_nothing_and_members_are_imported_when_used():
    import os.path

    registry = Registry("head", {"join": "os.path:join", "gone": "no.such:thing"})
    assert registry.names() == ("join", "gone")
    assert "gone" in registry and "other" not in registry
    assert registry.get("join") is os.path.join
    with pytest.raises(ModuleNotFoundError):
        registry.get("gone")


def test_an_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(UserError, match="^unknown head 'tow'; expected one of: join, "):
        heads().get("tow")


def test_register_as_a_decorator_with_fields_and_facts():
    registry = heads()
    cell = Field(2, one_of(1, 2, 4), "Pixels between logits.")

    @registry.register("mine", fields={"model.mine.cell": cell}, auxiliary=False)
    def mine():
        return 7

    assert mine() == 7 and registry.get("mine") is mine
    entry = registry.registration("mine")
    assert entry.fields == {"model.mine.cell": cell}
    assert entry.facts == {"auxiliary": False}
    assert list(registry) == ["join", "two", "mine"]


def test_a_registered_name_is_refused_unless_the_definition_is_the_same():
    registry = heads()

    def define(value):
        def member():
            return value

        return member

    registry.register("mine", define(1))
    registry.register("mine", define(2))  # The same file, read again.
    assert registry.get("mine")() == 2
    message = "^the head 'join' is already registered \\(os.path:join\\)"
    with pytest.raises(UserError, match=message):
        registry.register("join", define(3))
    assert registry.registration("join").member == "os.path:join"


@pytest.mark.parametrize(
    ("allowed", "yes", "no"),
    [
        (between(0, 2), (0, 2.0, 1), (2.1, -1, True, float("nan"), "1")),
        (at_least(0, 1), (0, 0.9), (1, -0.1, False)),
        (above(0, 1), (1, 0.1), (0, 1.1)),
        (one_of(1, "a"), (1, "a"), (True, 1.0, "b")),
        (several(FLAG, "flags", 1, 2), ((True,), [True, False]), ((), (1,), True)),
        (several(FLAG, "flags", 1, 2), ((False,),), ([True] * 3, "ab")),
    ],
)
def test_allowed_values(allowed, yes, no):
    assert all(allowed.fits(value) for value in yes)
    assert not any(allowed.fits(value) for value in no)


def test_a_field_has_an_allowed_default_or_a_kind():
    assert Field(0.5, between(0, 1), "A share.").kind is float
    assert Field(None, FLAG, "Decided elsewhere.", bool).kind is bool
    with pytest.raises(ValueError, match="default is 2; expected 0 to 1"):
        Field(2, between(0, 1), "A share.")
    with pytest.raises(
        ValueError, match="expected a kind for a field without a default"
    ):
        Field(None, FLAG, "Open.")


def test_registries_load_neither_jax_nor_tensorflow():
    program = (
        "import sys, encnet_jax.registry;"
        "print({'jax', 'flax', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_members_are_discovered_from_the_source_without_importing_it(tmp_path):
    (tmp_path / "wide.py").write_text(
        "import no_such_module\n"
        "@HEADS.register('wide', fields={'model.wide.px': Field(3, COUNT, 'Pixels.')},"
        " logits_stride=lambda m: m.px)\n"
        "def build(m): ...\n"
        "@OTHERS.register('other')\n"
        "def other(m): ...\n"
    )
    registry = Registry("head")
    discover("package.heads", str(tmp_path), HEADS=registry)
    assert registry.names() == ("wide",)
    entry = registry.registration("wide")
    assert entry.member == "package.heads.wide:build"
    assert entry.fields["model.wide.px"].default == 3
    assert entry.facts["logits_stride"](SimpleNamespace(px=5)) == 5

    def build(m):
        return m

    build.__module__, build.__qualname__ = "package.heads.wide", "build"
    registry.register("wide")(build)  # The module's own decorator, when imported.
    assert registry.get("wide") is build


def test_a_registration_may_not_use_names_that_need_an_import(tmp_path):
    (tmp_path / "wide.py").write_text("@HEADS.register(NAME)\ndef build(m): ...\n")
    message = "wide.py, line 1: name 'NAME' is not defined; expected only literals"
    with pytest.raises(ValueError, match=message):
        discover("package.heads", str(tmp_path), HEADS=Registry("head"))


def test_another_object_of_the_same_type_is_not_the_same_definition():
    registry = Registry("data set", {"two": {"classes": 2}})
    with pytest.raises(UserError, match="the data set 'two' is already registered"):
        registry.register("two", {"classes": 3})
