"""Functional experts as JSON and tensors, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from probscale.encode.annealing import Annealing
from probscale.encode.cache import CachedEmbedder
from probscale.encode.clock import Clock
from probscale.encode.warming import Warming
from probscale.model.baseline import Baseline
from probscale.model.basis import Basis
from probscale.model.scores import ScoreProcesses
from probscale.model.spread import CurveSpread, LengthTrend
from probscale.model.straying import RunDeviations
from probscale.model.transforms import transform_from
from probscale.runs import Roles
from probscale.surrogate.functional import FunctionalExpert, Observed
from probscale.surrogate.packing import (
    Tensors,
    pack_encoder,
    pack_mode,
    pack_state,
    unpack_classifier,
    unpack_encoder,
    unpack_state,
)


def pack_functional(expert: FunctionalExpert, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """Description of a functional expert; arrays go to `tensors`."""
    seen = list(expert.observed.values())
    arrays = {f"baseline/{key}": value for key, value in vars(expert.baseline).items()}
    arrays |= {f"basis/{key}": getattr(expert.basis, key) for key in _BASIS}
    arrays |= {f"deviations/{key}": getattr(expert.deviations, key) for key in _DEVIATIONS}
    arrays |= {"spread/new": expert.spread.new, "spread/begun": expert.spread.begun}
    arrays |= {"centre": expert.centre, "members": expert.scores.members, "excess": expert.scores.excess}
    arrays |= {
        "seen/code": np.array(list(expert.observed)),
        "seen/count": np.array([len(run.at) for run in seen], dtype=np.int64),
        "seen/at": np.concatenate([run.at for run in seen]),
        "seen/y": np.concatenate([run.y for run in seen]),
    }
    if expert.strays:
        arrays["strays/code"] = np.array(list(expert.strays))
        arrays["strays/variance"] = np.stack(list(expert.strays.values()))
    for key, value in arrays.items():
        tensors[f"{prefix}/{key}"] = torch.from_numpy(np.ascontiguousarray(value))
    described = [pack_state(s, f"{prefix}/{i}", tensors) for i, s in enumerate(expert.scores.states)]
    model = expert.divergence
    if model is not None:
        pack_mode(model, f"{prefix}/divergence", tensors)
    return pack_encoder(expert.encoder, prefix, tensors) | {
        "kind": "functional",
        "clock": asdict(expert.clock),
        "transform": expert.transform.to_dict(),
        "trust": expert.deviations.trust,
        "anneals": None if expert.annealing is None else asdict(expert.annealing),
        "warms": None if expert.warming is None else asdict(expert.warming),
        "remainder": [expert.basis.correlated, expert.basis.length, expert.basis.rest],
        "processes": described,
        "length": asdict(expert.spread.length),
        "beyond": expert.beyond,
        "unseen": expert.unseen,
        "size_default": expert.size_default,
        "largest": list(expert.largest),
        "divergence": None if model is None else model.offset,
    }


_BASELINE = ("knots", "times", "coefficients", "marks", "effects")
_BASIS = ("knots", "functions", "variance", "noise")
_DEVIATIONS = ("pattern", "kinds", "weights", "typical", "fresh")


def unpack_functional(
    data: dict[str, Any],
    prefix: str,
    tensors: Tensors,
    roles: Roles,
    model: CachedEmbedder | None,
    device: torch.device,
) -> FunctionalExpert:
    """The expert that `pack_functional` described."""
    encoder = unpack_encoder(data, prefix, tensors, roles, model)
    transform = transform_from(data["transform"])

    def array(key: str) -> Any:
        return tensors[f"{prefix}/{key}"].numpy()

    states = [
        unpack_state(description, f"{prefix}/{number}", tensors, encoder, transform, device)
        for number, description in enumerate(data["processes"])
    ]
    cuts = np.cumsum(array("seen/count"))[:-1]
    runs = zip(np.split(array("seen/at"), cuts), np.split(array("seen/y"), cuts), strict=True)
    observed = {float(c): Observed(*run) for c, run in zip(array("seen/code"), runs, strict=True)}
    offset, strays = data["divergence"], {}
    if f"{prefix}/strays/code" in tensors:
        strays = dict(zip(array("strays/code").tolist(), array("strays/variance"), strict=True))
    return FunctionalExpert(
        encoder=encoder,
        clock=Clock(**data["clock"]),
        transform=transform,
        baseline=Baseline(*(array(f"baseline/{key}") for key in _BASELINE)),
        centre=array("centre"),
        basis=Basis(*(array(f"basis/{key}") for key in _BASIS), *data["remainder"]),
        scores=ScoreProcesses(tuple(states), array("members"), array("excess")),
        deviations=RunDeviations(*(array(f"deviations/{key}") for key in _DEVIATIONS), trust=data["trust"]),
        spread=CurveSpread(array("spread/new"), array("spread/begun"), LengthTrend(**data["length"])),
        beyond=data["beyond"],
        unseen=data["unseen"],
        size_default=data["size_default"],
        largest=(data["largest"][0], data["largest"][1]),
        observed=observed,
        divergence=None
        if offset is None
        else unpack_classifier(states[0].process, offset, f"{prefix}/divergence", tensors),
        annealing=None if data["anneals"] is None else Annealing(**data["anneals"]),
        warming=None if data.get("warms") is None else Warming(**data["warms"]),
        strays=strays,
    )
