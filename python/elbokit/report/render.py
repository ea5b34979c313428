"""A report as plain text and as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from typing import TYPE_CHECKING

from elbokit.report.sections import OPENING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from elbokit.report.sections import Section

__all__ = ["as_html", "as_page", "as_text"]

_WIDTH = 100
_STYLE = """
.elbokit { max-width: 62em; font: 15px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff; }
.elbokit h1 { font-size: 1.5em; margin: 0 0 .2em; }
.elbokit h2 { font-size: 1.1em; margin: 1.6em 0 .3em; }
.elbokit p { margin: .4em 0; max-width: 50em; }
.elbokit .opening { font-weight: 600; }
.elbokit .about { color: #5c626b; }
.elbokit table { border-collapse: collapse; margin: .5em 0; font-variant-numeric: tabular-nums; }
.elbokit th, .elbokit td { padding: .15em .9em .15em 0; text-align: left; vertical-align: top; border: 0; }
.elbokit th { border-bottom: 1px solid #c9ccd1; font-weight: 600; }
.elbokit img { width: 100%; height: auto; }
"""


def as_text(about: str, sections: Sequence[Section]) -> str:
    """The report in lines of at most 100 characters, but for wide tables."""
    parts = [OPENING, about]
    for section in sections:
        parts += ["", section.title, "─" * len(section.title)]
        if section.rows:
            parts += [*_table(section), ""]
        for sentence in section.text:
            parts += textwrap.wrap(sentence, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts)


def _table(section: Section) -> list[str]:
    lines = [section.head, *section.rows]
    widths = [max(len(line[c]) for line in lines) for c in range(len(section.head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def as_html(about: str, sections: Sequence[Section], draw: Callable[[], Figure]) -> str:
    """The report as an element for a notebook or a page, its picture inside it."""
    escape = html.escape
    parts = [
        f'<style>{_STYLE}</style><div class="elbokit"><h1>Evidence report</h1>',
        f'<p class="opening">{escape(OPENING)}</p><p class="about">{escape(about)}</p>',
        _picture(draw),
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.rows:
            head = "".join(f"<th>{escape(cell)}</th>" for cell in section.head)
            rows = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.text]
    return "\n".join([*parts, "</div>"])


def as_page(about: str, sections: Sequence[Section], draw: Callable[[], Figure]) -> str:
    """The report as a whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Evidence report</title></head>\n'
        f'<body style="margin: 2em">\n{as_html(about, sections, draw)}\n</body>\n</html>\n'
    )


def _picture(draw: Callable[[], Figure]) -> str:
    try:
        figure = draw()
    except ImportError:
        return '<p>The picture is missing, since matplotlib is: <code>pip install "elbokit[plot]"</code>.</p>'
    file = io.BytesIO()
    figure.savefig(file, format="png")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    alt = "bounds of each row; the ladder of bounds over particles; k-hat of the rows; KL of each latent"
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'
