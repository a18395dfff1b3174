"""How the fields of a configuration are called in English.

Field names are written by people in a hurry (`d_model`, `numLayers`, `optim.lr`). A language model has read
the long form far more often, so names are split into words and the words expanded before any text reaches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class FieldPhrase:
    """How one field is spoken.

    Attributes:
        name: Human-readable name, such as "learning rate".
        template: Pattern for a number, with `{}` where the number goes.
        rank: Position in a sentence; smaller comes first.
    """

    name: str
    template: str
    rank: int


# (name, template for numbers, spellings); the order is the order of a sentence: what is trained, on what,
# how.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    ("source", "source {}", "source"),
    ("task", "task {}", "task"),
    ("model", "model {}", "model model_name base_model"),
    ("architecture", "architecture {}", "arch architecture model_type"),
    (
        "parameters",
        "{} parameters",
        "params n_params num_params parameters num_parameters model_params n_parameters",
    ),
    (
        "non-embedding parameters",
        "{} non-embedding parameters",
        "params_nonembed n_params_nonemb params_non_embedding",
    ),
    ("total parameters", "{} total parameters", "params_total n_params_total total_params"),
    ("layers", "{} layers", "n_layers n_layer num_layers layers depth numl num_hidden_layers"),
    ("model width", "model width {}", "d_model n_embd model_dim hidden_size hidden_dim embed_dim width"),
    ("attention heads", "{} attention heads", "n_heads n_head num_heads heads numh num_attention_heads"),
    ("key-value heads", "{} key-value heads", "n_kv_heads num_kv_heads num_key_value_heads"),
    (
        "feed-forward width",
        "feed-forward width {}",
        "d_ff d_ffn ff_num_hidden ffnh intermediate_size ffn_dim",
    ),
    ("vocabulary size", "vocabulary of {} tokens", "vocab vocab_size n_vocab vocabulary_size"),
    ("experts", "{} experts", "n_experts num_experts experts"),
    ("data set", "data set {}", "dataset data data_set corpus dataset_name"),
    (
        "training tokens",
        "{} training tokens",
        "tokens d_tokens n_tokens num_tokens train_tokens training_tokens",
    ),
    ("training examples", "{} training examples", "train_size size_train dataset_size n_train num_examples"),
    ("source language", "source language {}", "src src_lang source_language"),
    ("target language", "target language {}", "tgt trg tgt_lang trg_lang target_language"),
    ("optimizer", "optimizer {}", "optimizer optim optimiser opt optimizer_name optimizer_type optim_name"),
    ("learning rate", "learning rate {}", "lr learning_rate"),
    ("batch size", "batch size {}", "batch_size bs batch"),
    ("batch size", "batch size {} tokens", "batch_tokens train_batch_tokens batch_size_tokens"),
    ("batch size", "batch size {} sequences", "batch_seqs batch_size_seqs batch_sequences"),
    (
        "sequence length",
        "sequence length {} tokens",
        "seq_len sequence_length train_seq_len context_length block_size",
    ),
    ("learning-rate schedule", "learning-rate schedule {}", "lr_schedule schedule lr_scheduler scheduler"),
    ("warmup steps", "{} warmup steps", "warmup_steps warmup warmup_iters"),
    (
        "training steps",
        "{} training steps",
        "steps max_step max_steps n_steps num_steps total_steps iterations",
    ),
    ("epochs", "{} epochs", "epochs n_epochs num_epochs max_epochs"),
    ("weight decay", "weight decay {}", "weight_decay wd"),
    ("momentum", "momentum {}", "momentum"),
    ("beta1", "beta1 {}", "beta1 beta_1 adam_beta1"),
    ("beta2", "beta2 {}", "beta2 beta_2 adam_beta2"),
    ("epsilon", "epsilon {}", "eps epsilon adam_eps adam_epsilon"),
    (
        "gradient clipping",
        "gradient clipping at {}",
        "grad_clip max_grad_norm clip_grad gradient_clipping grad_norm_clip",
    ),
    ("dropout", "dropout {}", "dropout dropout_rate"),
    ("final learning-rate ratio", "final learning-rate ratio {}", "min_lr_ratio final_lr_ratio"),
    ("training compute", "{} training FLOPs", "flops flops_6_nd flops_6nd total_flops train_flops"),
)

_WORDS = {
    "acc": "accuracy", "accum": "accumulation", "adamw": "AdamW", "arch": "architecture",
    "attn": "attention", "bs": "batch size", "config": "configuration", "dim": "dimension",
    "emb": "embedding", "embd": "embedding", "embed": "embedding", "eps": "epsilon", "ffn": "feed-forward",
    "freq": "frequency", "grad": "gradient", "hparams": "hyperparameters", "init": "initial",
    "iters": "iterations", "kqv": "key-query-value", "kv": "key-value", "len": "length",
    "lr": "learning rate", "max": "maximum", "mid": "middle", "min": "minimum", "mix": "share of",
    "mlp": "MLP", "mult": "multiplier", "nonembed": "non-embedding", "norm": "normalization",
    "num": "number of", "optim": "optimizer", "params": "parameters", "pct": "percent", "pos": "position",
    "precond": "preconditioner", "prob": "probability", "qk": "query-key", "seq": "sequence",
    "seqs": "sequences", "std": "standard deviation", "tok": "token", "val": "validation",
    "vocab": "vocabulary", "wd": "weight decay",
}  # fmt: skip

_UNITS = frozenset({
    "blocks", "bytes", "characters", "chars", "classes", "epochs", "examples", "experts", "features", "flops",
    "gpus", "groups", "heads", "iterations", "languages", "layers", "neurons", "nodes", "pairs", "parameters",
    "samples", "seconds", "sequences", "shards", "steps", "tokens", "units", "workers",
})  # fmt: skip

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR = re.compile(r"[^0-9A-Za-z\u0080-\uffff]+")
# Scaling-law tables name their two variables by one capital letter.
_LETTERS = {"N": "params", "D": "tokens", "C": "flops", "L": "n_layers"}
_UNKNOWN_RANK = 1000
_CONTAINERS = frozenset({
    "args", "cfg", "config", "hparams", "hp", "hyperparameters", "hyperparams", "params", "settings",
})  # fmt: skip
"""Where trackers put all settings: `config.lr`, `params.lr`."""


def _spellings() -> dict[str, FieldPhrase]:
    return {
        spelling: FieldPhrase(name, template, rank)
        for rank, (name, template, spellings) in enumerate(_KNOWN)
        for spelling in spellings.split()
    }


_BY_SPELLING = _spellings()


def split_name(name: str) -> tuple[str, ...]:
    """Words of a field name, split at separators and camel case, in lower case."""
    pieces = _SEPARATOR.split(_CAMEL.sub("_", name))
    return tuple(piece.lower() for piece in pieces if piece)


@lru_cache(maxsize=4096)
def field_phrase(name: str) -> FieldPhrase:
    """How to speak of a field, known or not.

    Args:
        name: Field name as the user wrote it.

    Returns:
        The known phrase where the name is a usual spelling; otherwise the expanded words of the name, with a
        trailing unit ("warmup_steps", "unique_tokens") placed behind the number.
    """
    words = split_name(_LETTERS.get(name, name))
    known = _BY_SPELLING.get("_".join(words))
    if known is None and words and words[0] in _CONTAINERS:
        known = _BY_SPELLING.get("_".join(words[1:]))
    if known is not None:
        return known
    spoken = [_WORDS.get(word, word) for word in words] or ["field"]
    if spoken[-1] in _UNITS:
        counted = spoken[1:] if spoken[0] in {"n", "number of"} else spoken
        return FieldPhrase(" ".join(counted), "{} " + " ".join(counted), _UNKNOWN_RANK)
    return FieldPhrase(" ".join(spoken), " ".join(spoken) + " {}", _UNKNOWN_RANK)
