"""Surrogates on disk: one safetensors file, a JSON header inside it, no pickle."""

from __future__ import annotations

import io
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from probscale.encode.cache import CachedEmbedder, EmbeddingCache
from probscale.encode.embedders import Embedder, get_embedder
from probscale.errors import ConfigError, EmbeddingError, ProbscaleError
from probscale.model.devices import find_device
from probscale.model.divergence import DivergenceModel
from probscale.model.posterior import Tail
from probscale.model.transforms import transform_from
from probscale.runs import Roles, RunLog
from probscale.surrogate.curves import CurveExpert, CurveSurrogate
from probscale.surrogate.expert import Expert, Siblings
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_packing import pack_functional, unpack_functional
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.packing import (
    pack_encoder,
    pack_grid,
    pack_mode,
    pack_state,
    unpack_classifier,
    unpack_encoder,
    unpack_grid,
    unpack_state,
)
from probscale.surrogate.report import report_from

FORMAT = "probscale-surrogate/6"


def save_surrogate(surrogate: CurveSurrogate, path: str | Path) -> None:
    """Write a surrogate, its training log included; the file appears whole or not at all.

    Raises:
        ConfigError: if the path is that of a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(
            f"{str(path)!r} is a folder; give the path of a file, such as "
            f"{str(target / 'surrogate.safetensors')!r}",
            path=str(path),
        )
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {
        "format": FORMAT,
        "roles": asdict(surrogate.log.roles),
        "notes": list(surrogate.log.notes),
        "report": surrogate.report.to_dict(),
        "experts": {},
        "later": np.flatnonzero(surrogate.log.runs.isin(list(surrogate.later))).tolist(),
    }
    for key, frame in (("configs", surrogate.log.configs), ("points", surrogate.log.points)):
        tensors[f"log/{key}"] = _table_bytes(frame)
    for name, expert in surrogate.experts.items():
        header["experts"][name] = _pack_expert(expert, f"expert/{name}", tensors)
    header["others"] = {
        output: {n: _pack_expert(e, f"output/{output}/{n}", tensors) for n, e in experts.items()}
        for output, experts in surrogate.others.items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        save_file(tensors, temporary, metadata={"probscale": json.dumps(header, default=_plain)})
        # save_file lets none but the owner read it, whatever the umask.
        temporary.chmod(mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def to_bytes(surrogate: CurveSurrogate) -> bytes:
    """Content of the file that `save_surrogate` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate.safetensors"
        save_surrogate(surrogate, path)
        return path.read_bytes()


def from_bytes(content: bytes, embedder: str | Path | Embedder | None) -> CurveSurrogate:
    """The surrogate of such a content; see `load_surrogate`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate.safetensors"
        path.write_bytes(content)
        return load_surrogate(path, embedder=embedder)


def load_surrogate(
    path: str | Path, *, embedder: str | Path | Embedder | None = "default", device: str = "cpu"
) -> CurveSurrogate:
    """Read a surrogate that `CurveSurrogate.save` wrote; its predictions are identical.

    Args:
        path: The file.
        embedder: The language model of the fit, needed only where text entered it.
        device: Where the algebra runs, whatever device the fit used; see `fit_surrogate`.

    Raises:
        ConfigError: if the file is missing or is not a surrogate, or for a device that is absent.
        EmbeddingError: if text entered the fit through another language model than `embedder`.

    Example:
        >>> import tempfile
        >>> import probscale as ps
        >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ps.fit_surrogate(log, embedder=None).save(f"{folder}/surrogate.safetensors")
        ...     load_surrogate(f"{folder}/surrogate.safetensors")
        CurveSurrogate(10 runs, 30 points, loss by tokens)
    """
    place = find_device(device)
    source = Path(path)
    if not source.is_file():
        raise ConfigError(
            f"no file {str(source)!r}; pass the path that surrogate.save was given", path=str(source)
        )
    try:
        with safe_open(source, framework="pt") as file:
            header = dict(json.loads((file.metadata() or {})["probscale"]))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{str(source)!r} is not a saved surrogate; pass what surrogate.save or probscale fit wrote",
            path=str(source),
        ) from error
    written = header.get("format")
    if written != FORMAT:
        raise ConfigError(
            f"{str(source)!r} has format {written!r}; this version reads {FORMAT!r}. Fit again with this "
            "version, or load it with the one that wrote it",
            path=str(source),
        )
    try:
        return _unpacked(header, tensors, embedder, place)
    except ProbscaleError:
        raise
    except (KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{str(source)!r} was written by another development version of this package, which kept other "
            f"things ({type(error).__name__}: {error}). Fit again with this version",
            path=str(source),
        ) from error


def _unpacked(
    header: dict[str, Any],
    tensors: dict[str, Tensor],
    embedder: str | Path | Embedder | None,
    place: torch.device,
) -> CurveSurrogate:
    """The surrogate of a file's header and arrays."""
    lists: dict[str, Any] = {k: tuple(v) for k, v in header["roles"].items() if isinstance(v, list)}
    roles = Roles(**header["roles"] | lists)
    configs, points = (_table(tensors[f"log/{key}"]) for key in ("configs", "points"))
    log = RunLog(configs, points, roles, tuple(header["notes"]))
    report = report_from(header["report"])
    model = _embedder_for(report.embedder, embedder)
    experts = {
        name: _unpack_expert(data, f"expert/{name}", tensors, roles, model, place)
        for name, data in header["experts"].items()
    }
    others = {
        output: {
            n: _unpack_expert(d, f"output/{output}/{n}", tensors, roles, model, place, experts.get(n))
            for n, d in packed.items()
        }
        for output, packed in header.get("others", {}).items()
    }
    later = frozenset(log.runs[header.get("later", [])])
    return CurveSurrogate(log, experts, report, others, later=later)


def _embedder_for(identity: str | None, choice: str | Path | Embedder | None) -> CachedEmbedder | None:
    model = None if identity is None else get_embedder(choice)
    if identity is None:
        return None
    if model is None or model.identity != identity:
        shown = None if model is None else model.identity
        raise EmbeddingError(
            f"the surrogate was fitted with language model {identity!r}, load_surrogate got {shown!r}; "
            "pass embedder= as in the fit",
            expected=identity,
            got=shown,
        )
    return CachedEmbedder(model, EmbeddingCache())


def _pack_expert(expert: CurveExpert, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if isinstance(expert, GridExpert):
        return pack_grid(expert, prefix, tensors)
    if isinstance(expert, FunctionalExpert):
        return pack_functional(expert, prefix, tensors)
    shared = expert.siblings is not None and expert.siblings.index > 0
    own = () if shared else expert.states
    described = [pack_state(s, f"{prefix}/{i}", tensors) for i, s in enumerate(own)]
    divergence = expert.divergence and _pack_divergence(expert, expert.divergence, prefix, tensors)
    packed = {} if shared else pack_encoder(expert.encoder, prefix, tensors)
    return packed | {
        "divergence": divergence,
        "transform": expert.transform.to_dict(),
        "weights": expert.weights.tolist(),
        "takeover": expert.takeover,
        "tail": asdict(expert.tail),
        "beyond": expert.beyond,
        "continued": expert.continued,
        "unseen": expert.unseen,
        "text_gain": expert.text_gain,
        "decided": expert.decided,
        "trust": expert.trust,
        "size_default": expert.size_default,
        "largest": list(expert.largest),
        "means": described,
        "siblings": expert.siblings and _pack_siblings(expert.siblings),
    }


def _pack_siblings(siblings: Siblings) -> dict[str, Any]:
    transforms = [transform.to_dict() for transform in siblings.transforms]
    return vars(siblings) | {"outputs": list(siblings.outputs), "transforms": transforms}


def _unpack_siblings(data: dict[str, Any]) -> Siblings:
    transforms = tuple(transform_from(item) for item in data["transforms"])
    return Siblings(**data | {"outputs": tuple(data["outputs"]), "transforms": transforms})


def _pack_divergence(
    expert: Expert, model: DivergenceModel, prefix: str, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    pack_mode(model, f"{prefix}/divergence", tensors)
    return {"state": expert.divergence_state, "offset": model.offset}


def _unpack_expert(
    data: dict[str, Any],
    prefix: str,
    tensors: dict[str, Tensor],
    roles: Roles,
    model: CachedEmbedder | None,
    device: torch.device,
    principal: CurveExpert | None = None,
) -> CurveExpert:
    """The expert that `_pack_expert` described; `principal` holds what siblings share."""
    if data.get("kind") == "grid":
        return unpack_grid(data, prefix, tensors, roles, model, device)
    if data.get("kind") == "functional":
        return unpack_functional(data, prefix, tensors, roles, model, device)
    transform = transform_from(data["transform"])
    siblings = _unpack_siblings(data["siblings"]) if data.get("siblings") else None
    if siblings is not None and siblings.index > 0 and isinstance(principal, Expert):
        encoder, states = principal.encoder, principal.states
    else:
        encoder = unpack_encoder(data, prefix, tensors, roles, model)
        shared = () if siblings is None else siblings.transforms
        states = tuple(
            unpack_state(mean, f"{prefix}/{number}", tensors, encoder, transform, device, shared)
            for number, mean in enumerate(data["means"])
        )
    expert = Expert(
        encoder=encoder,
        transform=transform,
        states=states,
        weights=np.array(data["weights"]),
        tail=Tail(**data["tail"]),
        beyond=data["beyond"],
        size_default=data["size_default"],
        largest=(data["largest"][0], data["largest"][1]),
        continued=data.get("continued"),
        unseen=data.get("unseen"),
        text_gain=data.get("text_gain"),
        siblings=siblings,
        decided=data.get("decided", 0),
        takeover=data.get("takeover"),
        trust=data.get("trust", 1.0),
    )
    return _with_divergence(expert, data.get("divergence"), prefix, tensors)


def _with_divergence(
    expert: Expert, data: dict[str, Any] | None, prefix: str, tensors: dict[str, Tensor]
) -> Expert:
    if data is None:
        return expert
    process = expert.own_process(data["state"])
    model = unpack_classifier(process, data["offset"], f"{prefix}/divergence", tensors)
    return replace(expert, divergence=model)


def _table_bytes(frame: pd.DataFrame) -> Tensor:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return torch.from_numpy(np.frombuffer(buffer.getvalue(), dtype=np.uint8).copy())


def _table(content: Tensor) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content.numpy().tobytes()))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
