"""Elements of a self-contained HTML page."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from encnet_jax.storage import outputs

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px;
       padding: 0 1em; color: #1a1a1a; background: #fff; }
h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
table.sortable th { cursor: pointer; text-decoration: underline dotted; }
figure { display: inline-block; margin: .4em; vertical-align: top; }
figcaption { font-size: 13px; color: #444; max-width: 480px; overflow-wrap: anywhere; }
img { max-width: 100%; border: 1px solid #ddd; image-rendering: pixelated; }
.row figure { width: 23%; } .row img { width: 100%; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em;
          border: 1px solid #888; vertical-align: -1px; }
pre { background: #f5f5f5; padding: 1em; overflow: auto; font-size: 13px; }
"""

SCRIPT = """
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], place = head.cellIndex;
    const up = head.dataset.up !== "yes";
    head.dataset.up = up ? "yes" : "no";
    const value = row => {
      const text = row.cells[place].textContent, number = parseFloat(text);
      return isNaN(number) ? text : number;
    };
    const order = (a, b) => {
      const x = value(a), y = value(b);
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    };
    for (const row of [...body.rows].sort(order)) body.append(row);
  });
}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """Returns a complete HTML page; its body consists of the HTML strings `parts`."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            outputs.HTML_MARK,
            '<meta name="viewport" content="width=device-width">',
            f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
            *parts,
            f"<script>{SCRIPT}</script></body></html>",
        ]
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], sortable=False) -> str:
    """Returns an HTML table; cells are HTML, headings are plain text.

    Args:
        heads: headings of the columns.
        rows: the cells of each row.
        sortable: whether a click on a heading sorts the rows.
    """
    kind = ' class="sortable"' if sortable else ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def swatch(colour: np.ndarray) -> str:
    """Returns the HTML of a small square in a colour, which is RGB, uint8[3]."""
    red, green, blue = map(int, colour)
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def figure(pixels: np.ndarray, caption: str, *, photograph: bool = False) -> str:
    """Returns the HTML of an image uint8[H, W, 3] with a caption.

    The image is encoded as a JPEG if `photograph` is True, otherwise as a PNG.
    """
    content, kind = io.BytesIO(), "jpeg" if photograph else "png"
    options = {"quality": 82} if photograph else {"optimize": True}
    Image.fromarray(pixels).save(content, kind, **options)
    return figure_of(content.getvalue(), kind, caption)


def figure_of(content: bytes, kind: str, caption: str) -> str:
    """Returns the HTML of a PNG or JPEG with a caption; `kind` is 'png' or 'jpeg'."""
    text = html.escape(caption)
    encoded = base64.b64encode(content).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{encoded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def download(content: str, name: str, text: str) -> str:
    """Returns an HTML link that downloads a text as a CSV file.

    Args:
        content: the text.
        name: name of the file.
        text: text of the link.
    """
    encoded = base64.b64encode(content.encode()).decode()
    return (
        f'<a download="{html.escape(name)}" href="data:text/csv;base64,{encoded}">'
        f"{html.escape(text)}</a>"
    )


def folded(title: str, text: str) -> str:
    """Returns a collapsed HTML section; a click on the title shows the text."""
    title, text = html.escape(title), html.escape(text)
    return f"<details><summary>{title}</summary><pre>{text}</pre></details>"
