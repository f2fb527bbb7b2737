"""The diagram of docs/architecture.md shows the floors of test_structure.py."""

import architecture


def test_the_diagram_is_up_to_date():
    text = architecture.DOCUMENT.read_text()
    assert text == architecture.with_diagram(text), "run `make architecture`"


def test_the_diagram_has_every_room_and_every_exception(monkeypatch):
    monkeypatch.setattr(architecture, "FLOORS", (("__main__",), ("train", "data")))
    monkeypatch.setattr(architecture, "EXCEPTIONS", {("data", "train")})
    assert architecture.diagram().splitlines() == [
        "```mermaid",
        "flowchart TB",
        '  subgraph floor0 [" "]',
        "    direction LR",
        "    room_main[__main__]",
        "  end",
        '  subgraph floor1 [" "]',
        "    direction LR",
        "    room_train[train]",
        "    room_data[data]",
        "  end",
        "  floor0 --> floor1",
        "  room_data -. exception .-> room_train",
        "```",
    ]
