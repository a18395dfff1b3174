"""Pieces of experts as JSON and tensors, and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probscale.encode.annealing import Annealing
from probscale.encode.cache import CachedEmbedder
from probscale.encode.columns import numbers_repetitions
from probscale.encode.encoder import AxisScale, Encoder
from probscale.encode.features import FeatureMap
from probscale.encode.fields import CategoricalField, NumericField
from probscale.encode.projection import Projection
from probscale.model.divergence import DivergenceModel, divergence_model
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.grid import GridData, GridProcess
from probscale.model.grid_posterior import solve_grid
from probscale.model.means import Rows
from probscale.model.posterior import Tail
from probscale.model.transforms import OutputTransform, transform_from
from probscale.runs import Roles
from probscale.surrogate.grid import GridExpert, config_layout
from probscale.surrogate.processes import build_outputs, build_process, describe_process

Tensors = dict[str, Tensor]


def pack_encoder(encoder: Encoder, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """Description of an encoder; its projections go to `tensors`."""
    for name, projection in encoder.projections.items():
        for key in ("mean", "components"):
            array = np.ascontiguousarray(getattr(projection, key))
            tensors[f"{prefix}/text/{name}/{key}"] = torch.from_numpy(array)
    return {
        "features": asdict(encoder.features),
        "axis": asdict(encoder.axis),
        "text": {name: projection.scale for name, projection in encoder.projections.items()},
        "annealing": None if encoder.annealing is None else asdict(encoder.annealing),
    }


def unpack_encoder(
    data: dict[str, Any], prefix: str, tensors: Tensors, roles: Roles, model: CachedEmbedder | None
) -> Encoder:
    """The encoder that `pack_encoder` described."""
    raw = data["features"]
    categorical = (
        CategoricalField(item["name"], tuple(item["values"]), item["level"], tuple(item["of"]))
        for item in raw["categorical"]
    )
    features = FeatureMap(
        # Files of earlier versions do not say what numbers repetitions.
        tuple(
            NumericField(**{"repeats": numbers_repetitions(item["name"])} | item) for item in raw["numeric"]
        ),
        tuple(categorical),
        tuple(raw["free_text"]),
        raw["dropped"],
        raw.get("descriptions", {}),
    )
    projections = {
        name: Projection(
            tensors[f"{prefix}/text/{name}/mean"].numpy(),
            tensors[f"{prefix}/text/{name}/components"].numpy(),
            scale,
        )
        for name, scale in data["text"].items()
    }
    annealing = None if data["annealing"] is None else Annealing(**data["annealing"])
    axis = AxisScale(**data["axis"])
    return Encoder(roles, features, axis, projections, model if projections else None, annealing)


def pack_rows(rows: Rows, prefix: str, tensors: Tensors) -> None:
    """Rows to `tensors`."""
    parts = {"x": rows.x, "size": rows.size, "progress": rows.progress}
    tensors.update({f"{prefix}/{key}": value.clone() for key, value in parts.items()})


def unpack_rows(prefix: str, tensors: Tensors) -> Rows:
    """The rows that `pack_rows` wrote."""
    return Rows(*(tensors[f"{prefix}/{key}"] for key in ("x", "size", "progress")))


def pack_parameters(module: torch.nn.Module, prefix: str, tensors: Tensors) -> None:
    """Parameters and buffers to `tensors`."""
    for key, value in module.state_dict().items():
        tensors[f"{prefix}/{key}"] = value.detach().clone().contiguous()


def unpack_parameters(module: torch.nn.Module, prefix: str, tensors: Tensors) -> None:
    """Parameters and buffers from where `pack_parameters` put them."""
    start = f"{prefix}/"
    module.load_state_dict(
        {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
    )


def pack_state(state: ExactState, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """Observations and parameters to `tensors`, and the description of the process."""
    pack_rows(state.data.rows, prefix, tensors)
    pack_parameters(state.process, f"{prefix}/parameter", tensors)
    for key, value in (("y", state.data.y), ("weight", state.data.weight)):
        tensors[f"{prefix}/{key}"] = value.detach().clone().contiguous()
    return describe_process(state.process) | {"pieces": list(state.pieces)}


def unpack_state(
    description: dict[str, Any],
    prefix: str,
    tensors: Tensors,
    encoder: Encoder,
    transform: OutputTransform,
    device: torch.device,
    siblings: Sequence[OutputTransform] = (),
) -> ExactState:
    """The posterior that `pack_state` described; `siblings`: transforms of outputs that share it."""
    if description["kind"] == "OutputsProcess":
        process: CurveProcess = build_outputs(description, encoder, siblings)
    else:
        process = build_process(description, encoder, transform)
    unpack_parameters(process, f"{prefix}/parameter", tensors)
    rows = unpack_rows(prefix, tensors)
    data = Observations(rows, tensors[f"{prefix}/y"], tensors[f"{prefix}/weight"])
    # Extended as it was: draws follow the factor, of which another order of sums changes the ninth digit.
    pieces = description["pieces"]
    ends = np.cumsum([len(data) - sum(pieces), *pieces])
    state = solve_exactly(process, data.take(torch.arange(ends[0])), device)
    for start, end in itertools.pairwise(ends.tolist()):
        state = state.extend(data.take(torch.arange(start, end)))
    return state


def pack_mode(model: DivergenceModel, prefix: str, tensors: Tensors) -> None:
    """Rows and mode of a classifier to `tensors`; its process is packed elsewhere."""
    pack_rows(model.rows, prefix, tensors)
    tensors[f"{prefix}/gradient"], tensors[f"{prefix}/root"] = model.gradient.clone(), model.root.clone()


def pack_classifier(model: DivergenceModel, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """A classifier with a process of its own."""
    pack_mode(model, prefix, tensors)
    pack_parameters(model.process, f"{prefix}/parameter", tensors)
    return {"offset": model.offset, "process": describe_process(model.process)}


def unpack_classifier(process: CurveProcess, offset: float, prefix: str, tensors: Tensors) -> DivergenceModel:
    """The classifier whose rows and mode `tensors` hold."""
    rows = unpack_rows(prefix, tensors)
    return divergence_model(process, rows, tensors[f"{prefix}/gradient"], tensors[f"{prefix}/root"], offset)


def pack_grid(expert: GridExpert, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """Description of a grid expert; arrays go to `tensors`."""
    state = expert.state
    parts = {key: getattr(state.data, key) for key in ("x", "axis", "y", "seen")}
    parts |= {"grid": torch.from_numpy(expert.grid), "members": torch.from_numpy(expert.members)}
    if state.data.strays is not None:
        parts["strays"] = state.data.strays
    tensors.update({f"{prefix}/{key}": value.clone().contiguous() for key, value in parts.items()})
    pack_parameters(state.process, f"{prefix}/parameter", tensors)
    model = expert.divergence
    return pack_encoder(expert.encoder, prefix, tensors) | {
        "kind": "grid",
        "process": {"scale": state.process.scale, "centre": state.process.centre},
        "transform": expert.transform.to_dict(),
        "tails": [asdict(expert.tail), asdict(expert.prefix_tail)],
        "beyond": expert.beyond,
        "size_default": expert.size_default,
        "largest": list(expert.largest),
        "divergence": model and pack_classifier(model, f"{prefix}/divergence", tensors),
    }


def unpack_grid(
    data: dict[str, Any],
    prefix: str,
    tensors: Tensors,
    roles: Roles,
    model: CachedEmbedder | None,
    device: torch.device,
) -> GridExpert:
    """The expert that `pack_grid` described."""
    encoder = unpack_encoder(data, prefix, tensors, roles, model)
    transform = transform_from(data["transform"])
    process = GridProcess(config_layout(encoder), **data["process"], ends=(0.0, 1.0))
    unpack_parameters(process, f"{prefix}/parameter", tensors)
    x, axis, y, seen = (tensors[f"{prefix}/{key}"] for key in ("x", "axis", "y", "seen"))
    cells = GridData(x, axis, y, seen, tensors.get(f"{prefix}/strays"))
    classifier, described = None, data["divergence"]
    if described is not None:
        where = f"{prefix}/divergence"
        own = build_process(described["process"], encoder, transform)
        unpack_parameters(own, f"{where}/parameter", tensors)
        classifier = unpack_classifier(own, described["offset"], where, tensors)
    tail, prefix_tail = (Tail(**tail) for tail in data["tails"])
    return GridExpert(
        encoder=encoder,
        transform=transform,
        state=solve_grid(process, cells, device),
        grid=tensors[f"{prefix}/grid"].numpy(),
        members=tensors[f"{prefix}/members"].numpy(),
        tail=tail,
        prefix_tail=prefix_tail,
        beyond=data["beyond"],
        size_default=data["size_default"],
        largest=(data["largest"][0], data["largest"][1]),
        divergence=classifier,
    )
