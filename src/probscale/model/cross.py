"""Covariance between two curve kernels: what a curve of one output says about a curve of another.

Both kernels have the same terms with parameters of their own. A term with widths w of the first output and w'
of the second is one covariance over (row, output) whose widths vary with the output, which is valid for any
widths; with equal widths it is the linear model of coregionalisation.

Source: Paciorek and Schervish 2006, theorem 1; Kleiber and Nychka 2012 for outputs.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from probscale.model.kernels import CurveKernel
from probscale.model.levels import LevelTerm, MemberTerm, OffsetTerm
from probscale.model.matern import matern52, squared_distances
from probscale.model.terms import (
    AdditiveTerm,
    AnovaTerm,
    AxisKernel,
    AxisTerm,
    LabelCorrelation,
    LogParameterKernel,
    RunTerm,
    SharedTerm,
    TaskTerm,
)


def crossed_terms(first: CurveKernel, second: CurveKernel, x1: Tensor, x2: Tensor) -> list[Tensor]:
    """Covariance of rows of the first output with rows of the second, term by term, if fully correlated."""
    scale = first.amplitude(x1)[:, None] * second.amplitude(x2)
    out = []
    for one, other in zip(first.terms, second.terms, strict=True):
        part = crossed(one, other, x1, x2)
        out.append(part if isinstance(one, AxisTerm) else scale * part)
    return out


def term_names(kernel: CurveKernel) -> tuple[str, ...]:
    """What each term of a kernel describes."""
    plain = {SharedTerm: "shared", AnovaTerm: "shared", AdditiveTerm: "main effects", TaskTerm: "tasks"}
    plain |= {AxisTerm: "along the axis", RunTerm: "runs"}
    return tuple(
        f"level {' or '.join(block.name for block in term.blocks)}"
        if isinstance(term, OffsetTerm)
        else plain[type(term)]
        for term in kernel.terms
    )


@singledispatch
def crossed(first: torch.nn.Module, second: torch.nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    """Covariance of a term of one output with the same term of another, (rows, rows)."""
    raise TypeError(f"no covariance between outputs for {type(first).__name__}")


@crossed.register
def _(first: SharedTerm, second: SharedTerm, x1: Tensor, x2: Tensor) -> Tensor:
    widths = _natural(first, "width"), _natural(second, "width")
    return _product(first, second, "scale") * _matern(first.shift(x1), second.shift(x2), *widths)


@crossed.register
def _(first: AdditiveTerm, second: AdditiveTerm, x1: Tensor, x2: Tensor) -> Tensor:
    z1, z2 = first.shift(x1), second.shift(x2)
    weights = _product(first, second, "scale")
    parts = [weights[j] * part for j, part in enumerate(_by_column(first, second, z1, z2))]
    return sum(parts[1:], parts[0])


@crossed.register
def _(first: AnovaTerm, second: AnovaTerm, x1: Tensor, x2: Tensor) -> Tensor:
    z1, z2 = first.shift(x1), second.shift(x2)
    total = _product(first, second, "scale") * _along(first, second, "axis_width", x1, x2)
    weights, others = _natural(first, "weight"), _natural(second, "weight")
    trends = first.trends() * second.trends()
    for j, smooth in enumerate(_by_column(first, second, z1, z2)):
        part = smooth + trends[j] * torch.outer(z1[:, first.columns[j]], z2[:, first.columns[j]])
        norm = ((1 + weights[j].square()) * (1 + others[j].square())).sqrt()
        total = total * (1 + weights[j] * others[j] * part) / norm
    return total


@crossed.register
def _(first: AxisTerm, second: AxisTerm, x1: Tensor, x2: Tensor) -> Tensor:
    return _product(first, second, "scale") * _along(first, second, "width", x1, x2)


@crossed.register
def _(first: TaskTerm, second: TaskTerm, x1: Tensor, x2: Tensor) -> Tensor:
    covariance = crossed(first.matern, second.matern, x1, x2)
    if not len(first.labels):
        return covariance
    one, other = (torch.sigmoid(term.get_parameter("relevance")) for term in (first, second))
    off, on = ((1 - one) * (1 - other)).sqrt(), (one * other).sqrt()
    for j, (label, twin) in enumerate(zip(first.labels, second.labels, strict=True)):
        covariance = covariance * (off[j] + on[j] * crossed(label, twin, x1, x2))
    return covariance


@crossed.register
def _(first: LevelTerm, second: LevelTerm, x1: Tensor, x2: Tensor) -> Tensor:
    total = _offsets(first, second, x1, x2)
    if first.coordinates:
        total = total + _product(first, second, "scale") * first.tilt(x1, x2)
    present = torch.outer(first.own(x1), second.own(x2))
    return present * total * crossed(first.correlation, second.correlation, x1, x2)


@crossed.register
def _(first: MemberTerm, second: MemberTerm, x1: Tensor, x2: Tensor) -> Tensor:
    return _offsets(first, second, x1, x2) * first.alike(x1, x2)


@crossed.register
def _(first: RunTerm, second: RunTerm, x1: Tensor, x2: Tensor) -> Tensor:
    same = (x1[:, first.run, None] == x2[None, :, first.run]).to(x1.dtype)
    drift = _product(first, second, "drift") * _along(first, second, "width", x1, x2)
    return same * ((first.offset(x1) * second.offset(x1)).sqrt()[:, None] + drift)


@crossed.register
def _(first: LabelCorrelation, second: LabelCorrelation, x1: Tensor, x2: Tensor) -> Tensor:
    code, columns = first.block.code, list(first.block.text)
    same = (x1[:, code, None] == x2[None, :, code]).to(x1.dtype)
    if not columns:
        return same
    mix, twin = (torch.sigmoid(label.get_parameter("mix")) for label in (first, second))
    scale, other = _natural(first, "text_scale"), _natural(second, "text_scale")
    pair = (scale.square() + other.square()) / 2
    squared = squared_distances(x1[:, columns], x2[:, columns])
    close = (scale * other / pair) ** (len(columns) / 2) * torch.exp(-0.5 * squared / pair)
    return ((1 - mix) * (1 - twin)).sqrt() * same + (mix * twin).sqrt() * close


def _offsets(first: OffsetTerm, second: OffsetTerm, x1: Tensor, x2: Tensor) -> Tensor:
    """Product of scales plus what drifts along the axis, (rows, rows) or a number."""
    total = _product(first, second, "scale")
    if not first.axis:
        return total
    return total + _product(first, second, "drift") * _along(first, second, "width", x1, x2)


def _natural(kernel: LogParameterKernel, name: str) -> Tensor:
    return torch.exp(kernel.get_parameter(name))


def _product(first: LogParameterKernel, second: LogParameterKernel, name: str) -> Tensor:
    """Product of the standard deviations of two terms."""
    return _natural(first, name) * _natural(second, name)


def _matern(z1: Tensor, z2: Tensor, width1: Tensor, width2: Tensor) -> Tensor:
    """Matérn-5/2 correlation of rows with widths of their own."""
    pair = (width1.square() + width2.square()) / 2
    root = pair.sqrt()
    return (width1 * width2 / pair).sqrt().prod() * matern52(squared_distances(z1 / root, z2 / root))


def _by_column(
    first: AdditiveTerm | AnovaTerm, second: AdditiveTerm | AnovaTerm, z1: Tensor, z2: Tensor
) -> list[Tensor]:
    widths, others = _natural(first, "width"), _natural(second, "width")
    return [_matern(z1[:, [c]], z2[:, [c]], widths[[j]], others[[j]]) for j, c in enumerate(first.columns)]


def _along(first: AxisKernel, second: AxisKernel, name: str, x1: Tensor, x2: Tensor) -> Tensor:
    columns = list(first.axis)
    return _matern(x1[:, columns], x2[:, columns], _natural(first, name), _natural(second, name))
