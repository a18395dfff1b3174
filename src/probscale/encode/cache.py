"""Content-addressed cache of text embeddings, on disk and in memory.

Vectors live in *segments*: files that are written once, under the hash of their own content, and never
changed. A segment appears by an atomic rename after it has reached the disk, so that a reader or a kill at
any moment finds it whole or not at all; a segment whose checksum does not hold is deleted, and its texts are
embedded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probscale.encode.embedders import Embedder, checked_texts
from probscale.errors import EmbeddingError

CACHE_VARIABLE = "PROBSCALE_CACHE"
_MAGIC = b"probscale embeddings 1\n"
_KEY_BYTES = 32
_CHUNK = 256
_MERGE_ABOVE = 64
_STALE_SECONDS = 3600.0

Progress = Callable[[int, int], None]


class CacheWarning(UserWarning):
    """Embeddings could not be kept on disk; they are kept in memory for this process."""


@dataclass(frozen=True)
class Segment:
    """Keys and vectors that were stored together.

    Attributes:
        keys: SHA-256 of (model identity, text), one per row.
        vectors: Their vectors, float32 where that loses nothing, else float64; shape (rows, dim).
    """

    keys: tuple[bytes, ...]
    vectors: NDArray[Any]

    def to_bytes(self) -> bytes:
        """Magic line, SHA-256 of the rest, header line, keys, vectors."""
        header = {"rows": len(self.keys), "dim": self.vectors.shape[1], "dtype": self.vectors.dtype.str}
        body = json.dumps(header).encode() + b"\n" + b"".join(self.keys) + self.vectors.tobytes()
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, content: bytes) -> Segment | None:
        """The segment, or None if the content is damaged."""
        start = len(_MAGIC) + _KEY_BYTES
        body = content[start:]
        if content[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != content[len(_MAGIC) : start]:
            return None
        line, _, rest = body.partition(b"\n")
        header = json.loads(line)
        rows, dim = header["rows"], header["dim"]
        keys = tuple(rest[i * _KEY_BYTES : (i + 1) * _KEY_BYTES] for i in range(rows))
        vectors = np.frombuffer(rest, dtype=np.dtype(header["dtype"]), offset=rows * _KEY_BYTES)
        return cls(keys, vectors.reshape(rows, dim))


@dataclass
class _Shelf:
    """What is known of one model: rows by key, and the segment files they came from."""

    rows: dict[bytes, NDArray[Any]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def add(self, segment: Segment) -> None:
        self.rows.update(zip(segment.keys, segment.vectors, strict=True))


def default_cache_folder() -> Path:
    """The folder named by PROBSCALE_CACHE, else the user's cache folder of this platform."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("probscale"))


@final
class EmbeddingCache:
    """Vectors by text and model identity; safe for many processes at once.

    Args:
        folder: Where to keep them; created when first written to. Default: `default_cache_folder()`.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_cache_folder() if folder is None else Path(folder).expanduser()
        self._shelves: dict[str, _Shelf] = {}
        self._writable = True

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.folder)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_shelves": {}, "_writable": True}

    def embed(
        self, embedder: Embedder, texts: Sequence[str], *, progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Vectors of the texts, of which only new ones reach the embedder, each once.

        Args:
            embedder: Computes what is missing.
            texts: Any number of texts, repeats allowed.
            progress: Called with (embedded so far, to embed) after each chunk; every chunk is on disk by
                then.

        Returns:
            Vectors, shape (texts, dim), bit for bit what the embedder returned when it first met each text.
        """
        texts = checked_texts(texts)
        if not texts:
            return np.zeros((0, embedder.dim))
        identity = embedder.identity
        keys = [embedding_key(identity, text) for text in texts]
        shelf = self._shelves.setdefault(identity, _Shelf())
        if any(key not in shelf.rows for key in keys):
            self._refresh(identity, shelf)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in shelf.rows}
        for done, chunk in _chunks(missing):
            segment = _embedded(embedder, chunk)
            shelf.add(segment)
            self._store(identity, shelf, segment)
            if progress is not None:
                progress(done, len(missing))
        return np.stack([shelf.rows[key] for key in keys]).astype(np.float64)

    def clear(self, embedder: Embedder | None = None) -> None:
        """Forget the vectors of one model, or of all."""
        identities = None if embedder is None else {self._place(embedder.identity)}
        for path in list(self.folder.glob("embeddings/*/*")):
            if identities is None or path.parent in identities:
                path.unlink(missing_ok=True)
        for identity in list(self._shelves) if embedder is None else [embedder.identity]:
            self._shelves.pop(identity, None)

    def _place(self, identity: str) -> Path:
        return self.folder / "embeddings" / hashlib.sha256(identity.encode()).hexdigest()[:32]

    def _refresh(self, identity: str, shelf: _Shelf) -> None:
        """Read the segments that appeared since the last look; merge them when they are many."""
        try:
            paths = sorted(self._place(identity).glob("*.segment"))
        except OSError:
            return
        for path in paths:
            if path.name not in shelf.read:
                segment = _read(path)
                shelf.read.add(path.name)
                if segment is not None:
                    shelf.add(segment)
        if len(paths) > _MERGE_ABOVE:
            merged = self._store(identity, shelf, _packed(shelf.rows))
            # Only now that one file holds all of it; a process that misses a deleted one embeds again.
            for path in paths if merged else ():
                if path.name != merged:
                    path.unlink(missing_ok=True)

    def _store(self, identity: str, shelf: _Shelf, segment: Segment) -> str | None:
        """Write a segment and return the name of its file; None where that is not possible."""
        if not self._writable:
            return None
        try:
            name = _write(self._place(identity), segment)
        except OSError as error:
            self._writable = False
            warnings.warn(
                f"embeddings cannot be kept in {self.folder} ({error}); they are kept in memory for now. "
                f"Free space there, or set {CACHE_VARIABLE} to a folder you can write to",
                CacheWarning,
                stacklevel=4,
            )
            return None
        shelf.read.add(name)
        return name


@final
@dataclass(frozen=True)
class CachedEmbedder(Embedder):
    """An embedder that looks in a cache first; same identity, same vectors.

    Attributes:
        embedder: Computes what is missing.
        cache: Keeps what was computed.
    """

    embedder: Embedder
    cache: EmbeddingCache

    @property
    def identity(self) -> str:  # noqa: D102
        return self.embedder.identity

    @property
    def dim(self) -> int:  # noqa: D102
        return self.embedder.dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        return self.cache.embed(self.embedder, texts)


def embedding_key(identity: str, text: str) -> bytes:
    """Cache key of a text under a model."""
    # surrogatepass: lone surrogates reach us from badly decoded logs.
    parts = (identity.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass"))
    return hashlib.sha256(len(parts[0]).to_bytes(8, "little") + parts[0] + parts[1]).digest()


def _chunks(missing: Mapping[bytes, str]) -> Iterator[tuple[int, dict[bytes, str]]]:
    """Chunks of texts of similar length, longest first, with the number done after each."""
    ordered = sorted(missing.items(), key=lambda item: (-len(item[1]), item[0]))
    for start in range(0, len(ordered), _CHUNK):
        chunk = dict(ordered[start : start + _CHUNK])
        yield start + len(chunk), chunk


def _embedded(embedder: Embedder, chunk: Mapping[bytes, str]) -> Segment:
    vectors = np.asarray(embedder.embed(list(chunk.values())), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(chunk):
        raise EmbeddingError(
            f"embedder {embedder.identity!r} returned shape {vectors.shape} for {len(chunk)} texts; "
            f"it must return shape ({len(chunk)}, dim)",
            shape=vectors.shape,
        )
    if not np.isfinite(vectors).all():
        text = list(chunk.values())[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
        raise EmbeddingError(
            f"embedder {embedder.identity!r} returned values that are not finite for {text[:80]!r}; "
            "it must return finite numbers",
            text=text,
        )
    return _packed(dict(zip(chunk, vectors, strict=True)))


def _packed(rows: Mapping[bytes, NDArray[Any]]) -> Segment:
    keys = tuple(sorted(rows))
    vectors = np.stack([rows[key] for key in keys])
    single = vectors.astype(np.float32)
    return Segment(keys, single if np.array_equal(single, vectors) else vectors.astype(np.float64))


def _read(path: Path) -> Segment | None:
    """The segment in a file; None, and the file is gone, if it is damaged."""
    try:
        segment = Segment.from_bytes(path.read_bytes())
        if segment is None:
            path.unlink(missing_ok=True)
    except OSError:  # another process merged it away, or the folder is read-only
        return None
    return segment


def _write(folder: Path, segment: Segment) -> str:
    """Write a segment so that it is either wholly there or not at all; returns its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    content = segment.to_bytes()
    target = folder / f"{hashlib.sha256(content).hexdigest()[:40]}.segment"
    handle, partial = tempfile.mkstemp(dir=folder, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return target.name


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, on systems where a folder can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Delete partial files that a killed process left behind."""
    for path in folder.glob(".partial-*"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink(missing_ok=True)
        except OSError:
            continue
