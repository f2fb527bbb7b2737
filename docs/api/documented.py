"""A hook of mkdocs: every public name in the API reference has a docstring."""

import re

import griffe
from mkdocs.exceptions import PluginError


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Raises PluginError if a public name on the page has no docstring."""
    names = re.findall(r"^::: ([\w.]+)", markdown, re.MULTILINE)
    if names:
        package = griffe.load("encnet_jax", search_paths=["."])
        missing = [x for name in names for x in undocumented(package, name)]
        if missing:
            raise PluginError(
                f"{page.file.src_uri}: no docstring: {', '.join(missing)}; add one"
            )
    return markdown


def undocumented(package, name: str) -> list[str]:
    """Returns the paths without a docstring: `name` and its public members."""
    found = package[name.removeprefix("encnet_jax.")] if "." in name else package
    if found.is_alias:
        found = found.final_target
    missing = [] if found.has_docstring else [found.path]
    for member in found.members.values():
        public = not (member.is_alias or member.name.startswith("_"))
        if public and (member.is_function or member.is_class):
            missing += undocumented(package, member.path)
    return missing
