"""What a page holds: sections of paragraphs, figures, tables and notes, without a word of HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TypeAlias

from probscale.plot import style

MOST_DRAWN = 300
"""Runs beyond which a figure shows some of them."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True)
class Note:
    """Something the reader should not overlook."""

    words: str


@dataclass(frozen=True)
class Details:
    """Text of fixed width, folded away.

    Attributes:
        summary: Words on the fold.
        words: The text.
    """

    summary: str
    words: str


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        key: Distinguishes its identifiers from those of other figures of the page.
        svg: The drawing.
        caption: What to see in it.
        alt: What it shows, for those who cannot see it.
    """

    key: str
    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Table:
    """Rows of words.

    Attributes:
        head: Names of the columns.
        rows: Cells, formatted.
        caption: What the rows are.
        words: Columns from the left that hold words; the others are set as numbers.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Parts that share a row where the window is wide enough."""

    parts: tuple[Text | Details | Picture | Table | Items, ...]


Part: TypeAlias = Text | Note | Details | Picture | Table | Items | Row


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: Anchor.
        title: Heading; a question.
        lead: A sentence for a reader who has never seen such a page.
        parts: What follows.
    """

    key: str
    title: str
    lead: str
    parts: tuple[Part, ...]


def drawn(key: str, draw: Callable[..., object], *, caption: str, alt: str, height: float = 3.7) -> Picture:
    """Picture of what a function draws on fresh axes.

    Args:
        key: Distinguishes the figure on its page.
        draw: Draws on the axes that it is called with, as `ax`.
        caption: What to see in it.
        alt: What it shows.
        height: Inches; the width is the same for all.
    """
    with style.style():
        figure = style.new_figure(style.SIZE[0], height)
        draw(ax=figure.subplots())
        buffer = StringIO()
        # Without a date and a creator the same figure gives the same text.
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return Picture(key, text[text.index("<svg") :], caption, alt)


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 run", "64 runs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[object], most: int = 6) -> str:
    """Names joined by commas; beyond `most` only how many more."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
