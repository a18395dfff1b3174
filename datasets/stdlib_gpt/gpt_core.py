"""Corpus, configuration, model and evaluation grid of the ``stdlib_gpt`` runs.

The corpus is text every Python installation has: the sources of its standard
library, read as bytes. The trainer in ``stdlib_gpt`` builds on this module.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import platform
import sys
import sysconfig
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
CORPUS_RECORD = HERE / "corpus.json"
VOCABULARY = 256
PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "curses", "dbm", "distutils", "email",
    "html", "http", "importlib", "json", "logging", "multiprocessing", "re", "sqlite3",
    "tkinter", "tomllib", "unittest", "urllib", "venv", "wsgiref", "xml", "xmlrpc", "zoneinfo",
)  # fmt: skip
SKIPPED_FOLDERS = frozenset({"test", "tests", "__pycache__"})
HELD_OUT_ONE_IN = 12
EVAL_WINDOWS = 96
FIRST_EVAL_TOKENS = 2**13
EVALS_PER_OCTAVE = 6
BETAS = (0.9, 0.95)


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run.

    Attributes:
        width: Residual stream width; a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads; 0 stands for one head per 16 channels.
        context: Window length in bytes.
        learning_rate: AdamW learning rate, constant after the warm-up.
        batch_size: Sequences in a step.
        warmup_steps: Steps of linear warm-up.
        weight_decay: AdamW weight decay, on matrices only.
        seed: Seed of the initial weights and of the order of the data.
        D_tokens: Planned tokens of the whole run.
    """

    width: int = 32
    depth: int = 1
    heads: int = 0
    context: int = 128
    learning_rate: float = 3e-3
    batch_size: int = 8
    warmup_steps: int = 40
    weight_decay: float = 0.1
    seed: int = 0
    D_tokens: int = 2**20

    def __post_init__(self) -> None:
        if self.heads == 0:
            object.__setattr__(self, "heads", max(1, self.width // 16))
        for name in ("width", "depth", "heads", "context", "batch_size", "D_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")

    @property
    def run_id(self) -> str:
        """Name of the run, unique within the grid of the data set."""
        return f"w{self.width}-d{self.depth}-lr{self.learning_rate:g}-b{self.batch_size}-s{self.seed}"

    @property
    def tokens_per_step(self) -> int:
        """Bytes the model predicts in one step."""
        return self.batch_size * self.context

    @property
    def n_params(self) -> int:
        """Non-embedding parameters: the blocks and the final normalisation."""
        return self.depth * (12 * self.width**2 + 2 * self.width) + self.width

    @property
    def n_total(self) -> int:
        """All parameters; the output head shares the token embedding."""
        return self.n_params + (VOCABULARY + self.context) * self.width

    @property
    def flops_per_token(self) -> int:
        """Matrix-multiplication FLOPs of forward and backward pass, per token.

        The attention scores are counted over the whole context, without the
        saving a causal mask allows.
        """
        blocks = self.depth * (2 * 12 * self.width**2 + 4 * self.context * self.width)
        head = 2 * VOCABULARY * self.width
        return 3 * (blocks + head)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Config:
        """Builds a configuration from a mapping, ignoring keys it does not know."""
        fields = {f.name: f for f in dataclasses.fields(cls)}
        known = {}
        for key, value in values.items():
            if key in fields:
                kind = float if key in ("learning_rate", "weight_decay") else int
                known[key] = kind(value)
        return cls(**known)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Training and held-out bytes, with the facts that identify them."""

    train: Tensor
    held_out: Tensor
    facts: dict[str, Any]


def corpus_files(root: Path | None = None) -> list[Path]:
    """Lists the files of the corpus, sorted by relative path.

    Args:
        root: Folder of the standard library; that of the running Python if None.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if root is None else root
    files = [f for f in root.glob("*.py") if f.stem in sys.stdlib_module_names]
    for package in PACKAGES:
        for file in (root / package).rglob("*.py"):
            if not SKIPPED_FOLDERS.intersection(file.relative_to(root).parts):
                files.append(file)
    if not files:
        raise FileNotFoundError(f"no standard library sources under {root}")
    return sorted(files, key=lambda f: f.relative_to(root).as_posix())


def is_held_out(relative_path: str) -> bool:
    """Whether a file belongs to the held-out part; depends on its name alone."""
    digest = hashlib.sha256(relative_path.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0


@functools.cache
def load_corpus() -> Corpus:
    """Reads the corpus of the running Python.

    Warns when it is not the corpus the data set in this folder was trained on.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    parts: dict[bool, list[bytes]] = {False: [], True: []}
    for file in corpus_files(root):
        text = file.read_bytes().replace(b"\r\n", b"\n")
        parts[is_held_out(file.relative_to(root).as_posix())].append(text)
    train, held_out = b"\n".join(parts[False]), b"\n".join(parts[True])
    facts = {
        "python": platform.python_version(),
        "files_train": len(parts[False]),
        "files_held_out": len(parts[True]),
        "bytes_total": len(train) + len(held_out),
        "bytes_train": len(train),
        "bytes_held_out": len(held_out),
        "sha256_train": hashlib.sha256(train).hexdigest(),
        "sha256_held_out": hashlib.sha256(held_out).hexdigest(),
    }
    if CORPUS_RECORD.exists():
        recorded = json.loads(CORPUS_RECORD.read_text(encoding="utf-8"))
        if any(recorded.get(k) != facts[k] for k in ("sha256_train", "sha256_held_out")):
            warnings.warn(
                f"the standard library of Python {facts['python']} differs from the corpus "
                f"of the published runs (Python {recorded.get('python')}): new losses are "
                "close to theirs but not comparable to the last digit",
                stacklevel=2,
            )
    return Corpus(*(torch.frombuffer(bytearray(b), dtype=torch.uint8) for b in (train, held_out)),
                  facts=facts)  # fmt: skip


def _windows(data: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    chunk = data[starts[:, None] + torch.arange(context + 1)].long()
    return chunk[:, :-1], chunk[:, 1:]


def training_batch(corpus: Corpus, config: Config, step: int) -> tuple[Tensor, Tensor]:
    """The batch of a step: a function of the seed and the step, of nothing else."""
    generator = torch.Generator().manual_seed((config.seed << 32) + step)
    high = len(corpus.train) - config.context
    starts = torch.randint(high, (config.batch_size,), generator=generator)
    return _windows(corpus.train, starts, config.context)


class Block(nn.Module):
    """Pre-norm block: causal attention, then a GELU layer of four widths."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, context, width) to the same shape."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x)), approximate="tanh"))


class GPT(nn.Module):
    """Byte-level GPT with learnt positions and a head tied to the embedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.tokens = nn.Embedding(VOCABULARY, config.width)
            self.positions = nn.Embedding(config.context, config.width)
            self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
            self.norm = nn.LayerNorm(config.width, bias=False)
        generator = torch.Generator().manual_seed(config.seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02
                if name.startswith("blocks"):
                    std = 1 / math.sqrt(parameter.shape[1])
                if name.endswith(("out.weight", "down.weight")):
                    std /= math.sqrt(2 * config.depth)
                with torch.no_grad():
                    parameter.normal_(0.0, std, generator=generator)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per byte."""
        x = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def make_optimizer(model: GPT, config: Config) -> torch.optim.AdamW:
    """AdamW whose weight decay acts on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)


@torch.no_grad()
def held_out_loss(model: GPT, corpus: Corpus, context: int) -> float:
    """Loss on ``EVAL_WINDOWS`` evenly spaced windows of the held-out bytes."""
    last = len(corpus.held_out) - context - 1
    starts = torch.linspace(0, last, EVAL_WINDOWS, dtype=torch.float64).long()
    total = 0.0
    for part in starts.split(32):
        total += float(model(*_windows(corpus.held_out, part, context))) * len(part)
    return total / len(starts)


def evaluation_steps(config: Config, until: int) -> list[int]:
    """Log-spaced steps, the same for every horizon, and the last step of ``until``."""
    last = max(1, math.ceil(until / config.tokens_per_step))
    octaves = max(0.0, math.log2(max(1.0, until / FIRST_EVAL_TOKENS)))
    steps = {last}
    for k in range(int(octaves * EVALS_PER_OCTAVE) + 1):
        tokens = FIRST_EVAL_TOKENS * 2 ** (k / EVALS_PER_OCTAVE)
        steps.add(max(1, math.ceil(tokens / config.tokens_per_step - 1e-9)))
    return sorted(s for s in steps if s <= last)
