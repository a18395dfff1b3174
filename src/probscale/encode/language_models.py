"""Loading transformers models and pooling their hidden states.

Torch and transformers are imported on first use, quietly, and no global setting of either is left changed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from probscale.errors import ConfigError, EmbeddingError

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "last", "cls")
DTYPES = ("float32", "bfloat16", "float16")
_DEFAULT_WINDOW = 512
PATIENCE = 5.0
"""Seconds that the Hub has to answer before a download begins. Its client tries again for a minute."""
_MODEL_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")


@dataclass(frozen=True)
class LanguageModelSpec:
    """Which model to load and how to read vectors from it; see `HuggingFaceEmbedder` for the fields."""

    name_or_path: str
    pooling: str
    batch_size: int
    device: str
    max_length: int | None
    revision: str | None
    prefix: str
    unit_norm: bool
    dtype: str
    local_files_only: bool | None

    def __post_init__(self) -> None:
        for name, accepted in (("pooling", POOLINGS), ("dtype", DTYPES)):
            if getattr(self, name) not in accepted:
                options = ", ".join(f'"{option}"' for option in accepted)
                raise ConfigError(f"{name} is {getattr(self, name)!r}; accepted: {options}", option=name)
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be at least 1", option="batch_size")
        if self.max_length is not None and self.max_length < 4:
            raise ConfigError(f"max_length is {self.max_length}; it must be at least 4", option="max_length")

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a model on the Hub."""
        path = Path(self.name_or_path).expanduser()
        return path if path.is_dir() else None

    @property
    def location(self) -> str:
        """What to hand to `from_pretrained`."""
        return str(self.folder or self.name_or_path)

    def hub_options(self) -> dict[str, Any]:
        """Keyword arguments that every `from_pretrained` call of this model shares."""
        local = self.folder is not None if self.local_files_only is None else self.local_files_only
        # The commit already on disk is used even where the branch has moved on: the cache key names that
        # commit.
        revision = cached_commit(self) or self.revision or "main"
        return {"revision": revision, "local_files_only": local, "trust_remote_code": False}


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model with its tokenizer.

    Attributes:
        spec: How to read vectors from it.
        network: Module that returns `last_hidden_state`.
        tokenizer: Its tokenizer.
        window: Tokens per forward pass of one text, special tokens included.
    """

    spec: LanguageModelSpec
    network: Any
    tokenizer: Any
    window: int
    # Fast tokenizers refuse concurrent changes of their truncation settings ("Already borrowed").
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def dim(self) -> int:
        """Width of the last hidden state, asked of the network: configurations name it in too many ways."""
        return self._forward([[0]]).shape[1]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Vectors of the texts, shape (texts, dim); a text without tokens gets the zero vector."""
        split = self.split(texts)
        windows = [window for part in split for window in part]
        owner = np.repeat(np.arange(len(texts)), [len(part) for part in split])
        length = np.array([len(window) for window in windows], dtype=np.float64)
        vectors = self._vectors(windows)
        total = np.zeros((len(texts), vectors.shape[1]))
        np.add.at(total, owner, vectors * length[:, None])
        tokens = np.bincount(owner, weights=length, minlength=len(texts))
        mean = total / np.maximum(tokens, 1.0)[:, None]
        if self.spec.unit_norm:
            norm = np.linalg.norm(mean, axis=1, keepdims=True)
            mean = mean / np.where(norm > 0, norm, 1.0)
        return mean.astype(np.float32).astype(np.float64)

    def split(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Token ids of each text, in consecutive windows."""
        with self._lock, quiet_transformers():
            return [self._windows(self.spec.prefix + text) for text in texts]

    def _windows(self, text: str) -> list[list[int]]:
        """Token ids of a text in consecutive windows, each with the model's special tokens."""
        if getattr(self.tokenizer, "is_fast", False):
            cut = {"truncation": True, "max_length": self.window, "return_overflowing_tokens": True}
            encoded = self.tokenizer(text, **cut)["input_ids"]
        else:
            plain = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            room = self.window - self.tokenizer.num_special_tokens_to_add()
            parts = [plain[start : start + room] for start in range(0, max(len(plain), 1), room)]
            encoded = [self.tokenizer.build_inputs_with_special_tokens(part) for part in parts]
        return [list(ids) for ids in encoded if len(ids) > 0]

    def _vectors(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Pooled vector of each window; windows of similar length share a batch."""
        if not windows:
            return np.zeros((0, self.dim), dtype=np.float32)
        order = np.argsort([-len(window) for window in windows], kind="stable")
        size = self.spec.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        pooled = np.concatenate([self._forward([windows[i] for i in batch]) for batch in batches])
        if not np.isfinite(pooled).all():
            raise EmbeddingError(
                f"{self.spec.name_or_path} returned values that are not finite in {self.spec.dtype}; "
                'use dtype="float32"',
                model=self.spec.name_or_path,
            )
        vectors = np.empty_like(pooled)
        vectors[order] = pooled
        return vectors

    def _forward(self, windows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return self.pooled(windows).cpu().numpy()

    def pooled(self, windows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Pooled vector of each window in one forward pass, (windows, dim), as the gradient mode has it."""
        import torch

        longest = max(map(len, windows))
        # Padding goes on the right, whatever the tokenizer prefers: absolute positions then start at the
        # first token, and a causal model never sees what is masked. Any id will do for a masked token.
        ids = np.zeros((len(windows), longest), dtype=np.int64)
        mask = np.zeros((len(windows), longest), dtype=np.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        moved = {name: value.to(self.spec.device) for name, value in given.items()}
        hidden = self.network(**moved).last_hidden_state.float()
        return pool(hidden, moved["attention_mask"], self.spec.pooling)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector per text from its hidden states.

    Args:
        hidden: Last hidden states, shape (texts, tokens, dim), float32.
        mask: One where there is a token, zero where there is padding, on either side; shape (texts, tokens).
        pooling: "mean", "last" or "cls".

    Returns:
        Vectors, shape (texts, dim).
    """
    import torch

    if pooling == "mean":
        weight = mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
    places = torch.arange(mask.shape[1], device=mask.device)
    index = (mask * places).argmax(dim=1) if pooling == "last" else mask.argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=mask.device), index]


def load_language_model(spec: LanguageModelSpec) -> LanguageModel:
    """Load a model and its tokenizer.

    Raises:
        EmbeddingError: if the model cannot be found, reached or loaded, lacks trained weights for some of its
            layers, or allows fewer tokens than `max_length`.
    """
    if spec.folder is None and not spec.local_files_only and cached_commit(spec) is None:
        check_hub(spec.name_or_path)
    try:
        with quiet_transformers():
            network, tokenizer, missing = _from_pretrained(spec)
            network = network.to(spec.device)
    except (
        Exception
    ) as error:  # transformers, its hub client and torch share no root for what may go wrong here
        reason = " ".join(str(error).split()).rstrip(".")
        raise EmbeddingError(
            f"{spec.name_or_path!r} could not be loaded as a language model on {spec.device!r}: {reason}. "
            "Give the folder of a saved transformers model, or the id of one on the Hugging Face Hub",
            model=spec.name_or_path,
        ) from error
    untrained = [name for name in missing if "pooler" not in name]
    if untrained:
        raise EmbeddingError(
            f"{spec.name_or_path!r} has no weights for {len(untrained)} of its tensors ({untrained[0]}): "
            "its vectors would be random. Give a checkpoint that matches its configuration",
            model=spec.name_or_path,
            missing=untrained,
        )
    return LanguageModel(
        spec=spec, network=network, tokenizer=tokenizer, window=_window(spec, network, tokenizer)
    )


def check_hub(name: str) -> None:
    """See that the Hugging Face Hub answers, before a model that is not on disk is asked of it.

    Raises:
        EmbeddingError: if it does not.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # versions of the hub client differ in their HTTP library, and in its errors
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise EmbeddingError(
            f"there is no folder {name!r}, the Hugging Face cache has no model of that id, and "
            f'{constants.ENDPOINT} cannot be reached ({reason}). Pass embedder="default", which comes with '
            "the package, None for no text, or the folder of a saved transformers model",
            model=name,
        ) from error


def _from_pretrained(spec: LanguageModelSpec) -> tuple[Any, Any, list[str]]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    options = spec.hub_options()
    tokenizer = AutoTokenizer.from_pretrained(spec.location, **options)
    network, info = AutoModel.from_pretrained(
        spec.location, dtype=getattr(torch, spec.dtype), output_loading_info=True, **options
    )
    missing = sorted(info["missing_keys"])
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
        missing = [name for name in missing if "decoder" not in name]
    network.config.use_cache = False
    return network.eval().requires_grad_(False), tokenizer, missing


def _window(spec: LanguageModelSpec, network: Any, tokenizer: Any) -> int:
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    allowed = min(int(tokenizer.model_max_length), int(positions or tokenizer.model_max_length))
    if spec.max_length is not None and spec.max_length > allowed:
        raise EmbeddingError(
            f"max_length is {spec.max_length}, but {spec.name_or_path!r} reads at most {allowed} tokens",
            model=spec.name_or_path,
            max_length=spec.max_length,
        )
    return spec.max_length or min(allowed, _DEFAULT_WINDOW)


def model_identity(spec: LanguageModelSpec, load: Callable[[], LanguageModel]) -> str:
    """Everything the vectors of a model depend on, in one line.

    Args:
        spec: Model and reading options.
        load: Loads the model; called only for a Hub model whose commit is not known yet.
    """
    if spec.folder is not None:
        content = f"files={folder_digest(spec.folder)}"
    else:
        commit = cached_commit(spec) or getattr(load().network.config, "_commit_hash", None)
        content = f"{spec.name_or_path}@{commit or spec.revision or 'unknown'}"
    reading = f"pooling={spec.pooling} window={spec.max_length or 'auto'} unit_norm={spec.unit_norm}"
    return f"transformers/1 {content} {reading} dtype={spec.dtype} prefix={spec.prefix!r}"


def cached_commit(spec: LanguageModelSpec) -> str | None:
    """Commit of a Hub model that is already on disk; None for a local folder or one never loaded."""
    if spec.folder is not None:
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(spec.name_or_path, "config.json", revision=spec.revision or "main")
    except ValueError:  # not a well-formed id; loading will say so
        return None
    return Path(found).parent.name if isinstance(found, str) else None


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a model's weights, configuration and tokenizer files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _MODEL_FILES:
            digest.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered until its size or time of change differs."""
    status = path.stat()
    return _file_digest(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the logs and the progress bars of transformers and its hub client, and put all back after."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    verbosity, hub_verbosity = logging.get_verbosity(), hub.get_verbosity()
    # Switching bars off and on would also reset those of the hub client; a hook touches nothing else.
    set_hook = getattr(logging, "set_tqdm_hook", lambda hook: None)
    previous = set_hook(lambda factory, args, kwargs: logging.EmptyTqdm(*args, **kwargs))
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.set_verbosity(hub_verbosity)
        set_hook(previous)
