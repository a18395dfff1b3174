"""Sphinx renders formulas as MathML, which browsers draw by themselves: no script, no network."""

from __future__ import annotations

import re
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx

NAMED = re.compile(r"(<mi>(?:log|logit|ln|exp|min|max)</mi>)(?=<(?:mi|mn|msub|msup|msubsup)\b)")
"""A function's name before what it is applied to without brackets, which the converter joins."""


def mathml(node: Any, *, block: bool) -> str:
    """A formula as MathML."""
    text = latex2mathml.converter.convert(node.astext(), display="block" if block else "inline")
    return NAMED.sub(r'\1<mspace width="0.17em"/>', text)


def inline(visitor: Any, node: nodes.Element) -> None:
    """A formula within a sentence."""
    visitor.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def block(visitor: Any, node: nodes.Element) -> None:
    """A formula of its own line; wide ones scroll by themselves, not the page."""
    visitor.body.append(visitor.starttag(node, "div", CLASS="math-block", STYLE="overflow-x: auto"))
    visitor.body.append(mathml(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
