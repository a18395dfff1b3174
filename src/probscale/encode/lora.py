"""Language models with a low-rank adapter: a few weights of one's own beside frozen ones.

An adapter is a folder as PEFT writes it (`adapter_config.json`, `adapter_model.safetensors`), so that those
trained elsewhere can be read too; `probscale.json` beside them says which model it was made for, and how.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probscale.encode.embedders import BundledEmbedder, Embedder, HuggingFaceEmbedder, checked_texts
from probscale.encode.language_models import (
    LanguageModel,
    file_digest,
    load_language_model,
    quiet_transformers,
)
from probscale.errors import ConfigError, EmbeddingError, MissingExtraError

CONFIG, WEIGHTS, RECORD = "adapter_config.json", "adapter_model.safetensors", "probscale.json"
FORMAT = "probscale-adapter/1"
# What PEFT notes about the place and time of the making; the vectors do not depend on it.
_PLACES = frozenset({"base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode"})

BaseModel = BundledEmbedder | HuggingFaceEmbedder


@final
@dataclass(frozen=True)
class LoraEmbedder(Embedder):
    """A language model with a low-rank adapter, as `fine_tune` and `fine_tune_embedder` return it.

    Nothing is downloaded for the adapter; model and adapter are loaded on first use.

    Attributes:
        folder: Folder of the adapter.
        base: Model the adapter was made for; default: the one that the folder names. It also sets the device
            and the batch size.

    Raises:
        EmbeddingError: if the folder holds no adapter, one that names no model, or one of another model.
        MissingExtraError: without the extra "lora", on first use.

    Source: Hu et al. 2022, LoRA.
    """

    folder: str
    base: BaseModel | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", str(self.folder))
        if self.base is not None and not isinstance(self.base, BaseModel):
            raise ConfigError(
                f"base is {self.base!r}; an adapter needs a BundledEmbedder or a HuggingFaceEmbedder",
                base=self.base,
            )
        check_adapter(Path(self.folder))

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """How the adapter was made: base, settings, held-out scores per epoch; empty if made elsewhere."""
        path = Path(self.folder) / RECORD
        return _json(path) if path.is_file() else {}

    @cached_property
    def model(self) -> BaseModel:
        """The language model below the adapter.

        Raises:
            EmbeddingError: if the adapter was made for another one.
        """
        found = self.base or _named_base(Path(self.folder), self.record)
        expected = self.record.get("base", {}).get("identity")
        if expected is not None and found.identity != expected:
            raise EmbeddingError(
                f"the adapter in {self.folder!r} was made for language model {expected!r}, "
                f"not for {found.identity!r}; pass that model as base=",
                expected=expected,
                got=found.identity,
            )
        return found

    @cached_property
    def identity(self) -> str:  # type: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        return f"lora/1 adapter={adapter_digest(Path(self.folder))} on {self.model.identity}"

    @cached_property
    def dim(self) -> int:  # type: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        return self._loaded.dim

    @cached_property
    def _loaded(self) -> LanguageModel:
        import_peft()
        plain = load_language_model(self.model.spec)
        return replace(plain, network=attach_adapter(plain.network, Path(self.folder)))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        texts = checked_texts(texts)
        return self._loaded.embed(texts) if texts else np.zeros((0, self.dim))


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(folder).expanduser() / CONFIG).is_file()


def check_adapter(folder: Path) -> None:
    """See that a folder holds an adapter.

    Raises:
        EmbeddingError: if it does not.
    """
    absent = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if absent:
        raise EmbeddingError(
            f"{str(folder)!r} is not the folder of an adapter: {' and '.join(absent)} not found there. "
            "Give the folder that fine_tune_embedder wrote, or that of another LoRA adapter in PEFT's format",
            folder=str(folder),
            absent=absent,
        )


def adapter_digest(folder: Path) -> str:
    """SHA-256 of what an adapter does: its weights and its settings, wherever it lies and whoever made it."""
    settings = {key: _ordered(value) for key, value in _json(folder / CONFIG).items() if key not in _PLACES}
    content = json.dumps(settings, sort_keys=True) + file_digest(folder / WEIGHTS)
    return hashlib.sha256(content.encode()).hexdigest()


def _ordered(value: object) -> object:
    # PEFT writes sets, which come in another order in each process.
    return sorted(value, key=str) if isinstance(value, list) else value


def import_peft() -> Any:
    """The package behind the extra.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("lora", "fine-tuning a language model") from error
    return peft


def new_adapter(network: Any, *, rank: int, seed: int, name: str) -> Any:
    """The network with an adapter that changes nothing yet.

    Args:
        network: Language model as transformers gives it.
        rank: Rank of each change of a weight matrix.
        seed: Seed of the random half of the adapter.
        name: How the adapter refers to the network.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    peft = import_peft()
    known = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=None if network.config.model_type in known else "all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        base_model_name_or_path=name,
    )
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = peft.get_peft_model(network, config)
    adapted.peft_config["default"].base_model_name_or_path = name
    return adapted.eval()


def attach_adapter(network: Any, folder: Path) -> Any:
    """The network with the adapter of a folder, frozen.

    Raises:
        EmbeddingError: if the adapter is not LoRA, cannot be read, or does not fit the network.
    """
    import torch
    from safetensors.torch import load_file

    peft = import_peft()
    try:
        # The fresh adapter is random before its weights are read: nobody else's dice.
        with _quiet(), torch.random.fork_rng(devices=[]):
            config = peft.PeftConfig.from_pretrained(str(folder))
            adapted = peft.PeftModel(network, config)
            weights = load_file(folder / WEIGHTS)
            loaded = peft.set_peft_model_state_dict(adapted, weights)
    except Exception as error:  # PEFT, torch and safetensors share no root for what may go wrong here
        raise EmbeddingError(
            f"the adapter in {str(folder)!r} does not fit the language model: {error}. "
            "Pass the model that it was made for as base=",
            folder=str(folder),
        ) from error
    absent = [name for name in loaded.missing_keys if "lora_" in name]
    if loaded.unexpected_keys or absent:
        wrong = [*loaded.unexpected_keys, *absent][0]
        raise EmbeddingError(
            f"the adapter in {str(folder)!r} does not fit the language model, starting with {wrong!r}. "
            "Pass the model that it was made for as base=",
            folder=str(folder),
        )
    return adapted.eval().requires_grad_(False)


def write_adapter(adapted: Any, folder: Path, base: BaseModel, record: Mapping[str, Any]) -> None:
    """Write an adapter; the folder appears whole or not at all, and an earlier adapter there is replaced.

    Raises:
        ConfigError: if the folder holds something else.
    """
    check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with _quiet():
            # Embeddings are not trained; PEFT would ask the Hub whether they were resized.
            adapted.save_pretrained(str(partial), safe_serialization=True, save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)
        described = {"format": FORMAT, "base": described_base(base), **record}
        (partial / RECORD).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if folder.is_dir() and any(folder.iterdir()):
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            os.replace(folder, old)
            os.replace(partial, folder)
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_target(folder: Path) -> None:
    """See that an adapter may be written to a folder.

    Raises:
        ConfigError: if something else is there.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_adapter(folder)):
        raise ConfigError(
            f"{str(folder)!r} holds something other than an adapter; give a new folder", folder=str(folder)
        )


def described_base(base: BaseModel) -> dict[str, Any]:
    """What it takes to find a model again."""
    if isinstance(base, BundledEmbedder):
        return {"identity": base.identity, "bundled": True}
    # Where and in what portions it runs is another matter.
    options = {f.name: getattr(base, f.name) for f in fields(base) if f.init}
    options = {key: value for key, value in options.items() if key not in {"device", "batch_size"}}
    return {"identity": base.identity, "bundled": False, "options": options}


def _named_base(folder: Path, record: Mapping[str, Any]) -> BaseModel:
    """The model that the folder of an adapter names."""
    described = record.get("base")
    if described is not None:
        return BundledEmbedder() if described["bundled"] else HuggingFaceEmbedder(**described["options"])
    name = _json(folder / CONFIG).get("base_model_name_or_path")
    if not name:
        raise EmbeddingError(
            f"the adapter in {str(folder)!r} does not say which language model it was made for; pass base=",
            folder=str(folder),
        )
    return HuggingFaceEmbedder(name)


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise EmbeddingError(
            f"{str(path)!r} is damaged ({error}); fine-tune again, or copy the folder anew", path=str(path)
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No messages of PEFT about transformers; what matters of them is checked."""
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
