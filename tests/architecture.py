"""Writes the diagram of docs/architecture.md from the table of test_structure.py.

`python tests/architecture.py` (or `make architecture`) renews it; test_architecture.py
fails while it is out of date.
"""

import pathlib

from test_structure import EXCEPTIONS, FLOORS

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN = "<!-- begin: written by `make architecture` -->"
END = "<!-- end -->"


def diagram() -> str:
    """Returns FLOORS in Mermaid's language: one box per floor, arrows downwards."""
    lines = ["```mermaid", "flowchart TB"]
    for i, rooms in enumerate(FLOORS):
        lines.append(f'  subgraph floor{i} [" "]')
        lines.append("    direction LR")
        lines += [f"    {_node(room)}[{room}]" for room in rooms]
        lines.append("  end")
    lines += [f"  floor{i} --> floor{i + 1}" for i in range(len(FLOORS) - 1)]
    lines += [
        f"  {_node(here)} -. exception .-> {_node(there)}"
        for here, there in sorted(EXCEPTIONS)
    ]
    return "\n".join([*lines, "```"])


def _node(room: str) -> str:
    """Returns an identifier that is no word of Mermaid's own, such as `end`."""
    return f"room_{room.strip('_')}"


def with_diagram(text: str) -> str:
    """Returns the document with the present diagram between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{diagram()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagram(DOCUMENT.read_text()))
