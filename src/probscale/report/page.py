"""Sections as one HTML file that asks the network for nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from probscale.report.content import Details, Items, Note, Part, Picture, Row, Section, Table, Text


def page(title: str, subtitle: str, tiles: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: Heading.
        subtitle: A line below it.
        tiles: Figures at a glance: value and what it is.
        sections: Parts of the page, in order.
    """
    css = files("probscale.report").joinpath("page.css").read_text(encoding="utf-8")
    at_a_glance = "".join(
        f'<div class="tile"><dt>{_words(name)}</dt><dd>{_words(value)}</dd></div>' for value, name in tiles
    )
    contents = "".join(f'<li><a href="#{each.key}">{escape(each.title)}</a></li>' for each in sections)
    body = "\n".join(_section(each) for each in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{css}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p>
<dl class="tiles">{at_a_glance}</dl>
<nav aria-label="Contents"><ol>{contents}</ol></nav></header>
<main>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = "".join(_part(part) for part in section.parts)
    return (
        f'<section id="{section.key}"><h2>{escape(section.title)}</h2>'
        f'<p class="lead">{_words(section.lead)}</p>{parts}</section>'
    )


def _part(part: Part) -> str:
    match part:
        case Text(words):
            html = f"<p>{_words(words)}</p>"
        case Note(words):
            html = f'<p class="note">{_words(words)}</p>'
        case Items(words):
            html = f"<ul>{''.join(f'<li>{_words(each)}</li>' for each in words)}</ul>"
        case Details(summary, words):
            html = f"<details><summary>{escape(summary)}</summary><pre>{escape(words)}</pre></details>"
        case Table():
            html = _table(part)
        case Picture():
            html = _picture(part)
        case Row(parts):
            # One cell each, so that a table scrolls within its own.
            html = f'<div class="row">{"".join(f"<div>{_part(each)}</div>" for each in parts)}</div>'
    return html


def _words(text: str) -> str:
    """Text as HTML; a number stays with its per cent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _picture(picture: Picture) -> str:
    return (
        f"<figure>{_labelled(_own_names(picture.svg, picture.key), picture.alt)}"
        f"<figcaption>{_words(picture.caption)}</figcaption></figure>"
    )


def _own_names(svg: str, key: str) -> str:
    """Identifiers of a drawing made distinct from those of other drawings of the page."""
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(xlink:)?href="#', f'href="#{key}-', svg)
    return svg.replace("url(#", f"url(#{key}-")


def _labelled(svg: str, alt: str) -> str:
    """The drawing as an image with a text instead, that scales with its place."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height|xmlns(:\w+)?|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(alt)}">{rest}'


def _table(table: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ("" if column < table.words else ' class="number"' for column in range(len(row)))
        return "".join(f"<{tag}{kind}>{_words(c)}</{tag}>" for c, kind in zip(row, kinds, strict=True))

    caption = f'<p class="caption">{_words(table.caption)}</p>' if table.caption else ""
    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    head = f"<thead><tr>{cells(table.head, 'th')}</tr></thead>"
    # A wide table scrolls by itself, so that the page never does; the keyboard can reach it.
    return f'{caption}<div class="table" tabindex="0"><table>{head}<tbody>{rows}</tbody></table></div>'
