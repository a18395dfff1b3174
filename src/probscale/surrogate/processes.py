"""Processes as JSON descriptions, from which they are built again before their parameters are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from probscale.encode.encoder import Encoder
from probscale.model.bent import BentMean
from probscale.model.falling import FallingMean
from probscale.model.gp import CurveProcess
from probscale.model.latent import LatentColumns, LatentProcess, LatentTasks, LevelMean
from probscale.model.means import CurveMean, LawMean, LawScale, PlaneMean
from probscale.model.offsets import SizeOffset, offset_of, with_offsets
from probscale.model.outputs import OutputsProcess, linked
from probscale.model.repeats import UniqueData
from probscale.model.rising import RisingMean
from probscale.model.strays import run_term_of
from probscale.model.transforms import LogFloor, OutputTransform
from probscale.surrogate.rows import layout_of


def describe_process(process: CurveProcess) -> dict[str, Any]:
    """What `build_process` needs beside the parameters."""
    if isinstance(process, OutputsProcess):
        return {"kind": "OutputsProcess", "parts": [describe_process(part) for part in process.each]}
    term = run_term_of(process)
    return _described(process) | ({} if term is None else {"strays": term.strays.tolist()})


def _described(process: CurveProcess) -> dict[str, Any]:
    """The same without what came after the fit."""
    mean = process.mean
    if isinstance(process, LatentProcess):
        shape = list(process.tasks.get_parameter("deviation").shape)
        return {"kind": "LatentProcess", "columns": asdict(process.tasks.columns), "tasks": shape}
    assert isinstance(mean, LawMean | PlaneMean | BentMean | RisingMean | FallingMean)
    scale, wanes = asdict(mean.scale), process.layout.wanes
    described, offset = {"kind": type(mean).__name__, "scale": scale, "wanes": wanes}, offset_of(process)
    return described if offset is None else described | {"offset": offset.described()}


def build_process(description: dict[str, Any], encoder: Encoder, transform: OutputTransform) -> CurveProcess:
    """A process of the described structure; its parameters and buffers are still to be loaded."""
    process = _built(description, encoder, transform)
    term, strays = run_term_of(process), description.get("strays")
    if term is not None and strays:
        term.strays = torch.tensor(strays, dtype=torch.float64)
    return process


def _built(description: dict[str, Any], encoder: Encoder, transform: OutputTransform) -> CurveProcess:
    """The same without what came after the fit."""
    layout = layout_of(encoder)
    if description["kind"] == "LatentProcess":
        raw = description["columns"]
        columns = LatentColumns(
            raw["task"], tuple(raw["members"]), tuple(raw["inputs"]), tuple(raw["described"])
        )
        start = torch.zeros(description["tasks"], dtype=torch.float64)
        tasks = LatentTasks(columns, torch.zeros(len(start), dtype=torch.float64), start)
        return LatentProcess(layout, tasks, LevelMean(level=0.0, spread=1.0), scale=0.1, noise=0.01)
    scale = _law_scale(description["scale"])
    if description["kind"] == "LawMean":
        assert isinstance(transform, LogFloor)
        mean: CurveMean = LawMean(transform, scale)
    elif ended := {kind.__name__: kind for kind in (RisingMean, FallingMean)}.get(description["kind"]):
        mean = ended(scale, level=0.0, spread=1.0, ends=(0.0, 0.0))
    else:
        plain = BentMean if description["kind"] == "BentMean" else PlaneMean
        mean = plain(scale, level=0.0, spread=1.0)
    layout = replace(layout_of(encoder, transform), wanes=float(description["wanes"]))
    process = CurveProcess(layout, mean, scale=0.1, noise=0.01)
    offset = description.get("offset")
    return process if offset is None else with_offsets(process, SizeOffset(**offset))


def build_outputs(
    description: dict[str, Any], encoder: Encoder, transforms: Sequence[OutputTransform]
) -> OutputsProcess:
    """A process of several outputs; its parameters and buffers are still to be loaded."""
    parts = zip(description["parts"], transforms, strict=True)
    return linked([build_process(part, encoder, transform) for part, transform in parts])


def _law_scale(raw: dict[str, Any]) -> LawScale:
    top, unique = raw.get("top"), raw.get("unique")
    read = {"top": top and tuple(top), "unique": unique and UniqueData(**unique)}
    return LawScale(**raw | read)
