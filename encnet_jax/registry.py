"""Registries, which map names to objects of one kind, such as heads or data sets."""

import ast
import importlib
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from encnet_jax import fields as fields_lib
from encnet_jax.errors import UserError
from encnet_jax.fields import Field

Member = TypeVar("Member")


class Registration(NamedTuple):
    """One member of a registry.

    Attributes:
        member: the object, or its import path 'package.module:attribute'.
        fields: the configuration fields that only this member reads, by dotted name,
            such as {"model.duc.cell": Field(...)}.
        facts: properties of the member that other code can read without importing the
            member, such as {"auxiliary": False}.
    """

    member: Any
    fields: Mapping[str, Field]
    facts: Mapping[str, Any]


class Registry(Generic[Member]):
    """Maps names to members of one kind; imports a member on first use.

    Define a registry next to its members, in a module that imports neither JAX nor
    TensorFlow, because configurations are checked before these libraries are loaded.
    """

    def __init__(self, kind: str, members: Mapping[str, Any] | None = None):
        """Creates a registry with the given members.

        Use `register` for members with configuration fields or facts.

        Args:
            kind: singular noun for error messages, such as 'head'.
            members: name -> object, or import path 'package.module:attribute'.
        """
        self.kind = kind
        self._entries: dict[str, Registration] = {}
        self._files: dict[str, str | None] = {}  # Name -> file that registered it.
        for name, member in (members or {}).items():
            self.register(name, member)

    def register(
        self,
        name: str,
        member: Any = None,
        *,
        fields: Mapping[str, Field] | None = None,
        **facts,
    ) -> Callable[[Any], Any]:
        """Adds a member: `register(name, member)`, or `@register(name)` as a decorator.

        A member may be registered twice, because a configuration file may be loaded
        twice; the new definition replaces the old one.

        Args:
            name: name of the member in configurations and flags.
            member: the object, or its import path 'package.module:attribute'; None if
                `register` is used as a decorator.
            fields: configuration fields of the member, by dotted name.
            **facts: properties of the member that other code can read without importing
                the member.

        Returns:
            A decorator that registers the decorated object and returns it unchanged.

        Raises:
            UserError: a different member has this name.
        """
        file = sys._getframe(1).f_globals.get("__file__")

        def add(what: Any) -> Any:
            old = self._entries.get(name)
            again = old is not None and (
                _identity(old.member) == _identity(what)
                # A configuration file has another module name each time it is loaded.
                or (file, _qualname(what))
                == (self._files.get(name), _qualname(old.member))
            )
            if old is not None and not again:
                raise UserError(
                    f"the {self.kind} {name!r} is already registered"
                    f" ({_shown(old.member)}); expected a name other than"
                    f" {self._known()}"
                )
            self._entries[name] = Registration(what, dict(fields or {}), facts)
            self._files[name] = file
            return what

        if member is not None:
            add(member)
        return add

    def names(self) -> tuple[str, ...]:
        """Returns the names in the order of registration; does not import members."""
        return tuple(self._entries)

    def registration(self, name: str) -> Registration:
        """Returns a member's registration without importing the member.

        Raises:
            UserError: no member has this name.
        """
        if name not in self._entries:
            raise UserError(
                f"unknown {self.kind} {name!r}; expected one of: {self._known()}"
            )
        return self._entries[name]

    def get(self, name: str) -> Member:
        """Returns the member with this name; imports the member if necessary.

        Raises:
            UserError: no member has this name.
        """
        return imported(self.registration(name).member)

    def __contains__(self, name: object) -> bool:
        """Returns whether a member has this name."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of the members."""
        return iter(self.names())

    def _known(self) -> str:
        return ", ".join(self._entries) or "none"


def imported(member: Any) -> Any:
    """Returns `member`; imports it first if it is an import path 'module:attribute'."""
    if not isinstance(member, str):
        return member
    module, _, attribute = member.partition(":")
    return getattr(importlib.import_module(module), attribute)


def discover(package: str, folder: str, **registries: Registry) -> None:
    """Registers the members in the modules of a folder without importing the modules.

    Reads the decorators `@HEADS.register("name", ...)` from the source code, because
    importing a module may load JAX. The arguments of these decorators may use only
    literals, lambdas and the names in encnet_jax.fields.

    Args:
        package: name of the package whose modules are in the folder.
        folder: folder of the modules; subfolders are not searched.
        **registries: the registries, by the names that the decorators use, such as
            HEADS=HEADS.

    Raises:
        ValueError: an argument of a decorator uses a name that is not in
            encnet_jax.fields.
    """
    for path in sorted(pathlib.Path(folder).glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            for call in getattr(node, "decorator_list", ()):
                name = _registry_of(call)
                if name in registries:
                    (member_name,), facts = _arguments(call, path)
                    member = f"{package}.{path.stem}:{getattr(node, 'name')}"  # noqa: B009
                    registries[name].register(member_name, member, **facts)


def _registry_of(call: ast.expr) -> str:
    """Returns the registry name in a decorator: 'HEADS' for `@HEADS.register(...)`.

    For other decorators, the result is ''.
    """
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return ""
    owner = call.func.value
    if call.func.attr != "register" or not isinstance(owner, ast.Name):
        return ""
    return owner.id


def _arguments(call: Any, path: pathlib.Path) -> tuple[list, dict[str, Any]]:
    """Evaluates the arguments of a `register` call.

    Returns:
        A list of the positional arguments, and a dict of the keyword arguments.
    """

    def value(node: ast.expr) -> Any:
        code = compile(ast.Expression(node), str(path), "eval")
        try:
            return eval(code, dict(vars(fields_lib)))
        except NameError as error:
            raise ValueError(
                f"{path}, line {node.lineno}: {error}; expected only literals and names"
                " that encnet_jax.fields defines, because the arguments of `register`"
                " are evaluated without importing this file"
            ) from None

    args = [value(node) for node in call.args]
    return args, {str(word.arg): value(word.value) for word in call.keywords}


def _qualname(member: Any) -> object:
    return getattr(member, "__qualname__", member)


def _identity(member: Any) -> object:
    return _shown(member) if hasattr(member, "__qualname__") else member


def _shown(member: Any) -> str:
    if isinstance(member, str):
        return member
    if hasattr(member, "__qualname__"):
        return f"{member.__module__}:{member.__qualname__}"
    return type(member).__name__
