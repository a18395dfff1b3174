"""Fine-tuning of the language model that reads the texts of a log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from probscale.encode.embedders import Embedder
from probscale.encode.encoder import fit_encoder, read_texts
from probscale.encode.fields import label
from probscale.encode.lora import LoraEmbedder, import_peft
from probscale.encode.tuning import fine_tune
from probscale.encode.tuning_data import FEWEST_GROUPS
from probscale.errors import ConfigError
from probscale.randomness import generator_of
from probscale.runs import RunLog
from probscale.runs.log import check_log
from probscale.runs.order import canonical
from probscale.surrogate.fitting import FitOptions, fit_output

MOST_RUNS = 800
"""Runs that are learnt from: residuals come from one dense fit."""

MOST_DEVIATIONS = 4.0
"""Standard deviations at which residuals are cut: a run that went wrong is not the fault of its text."""


def fine_tune_embedder(
    log: RunLog,
    *,
    folder: str | Path,
    base: str | Path | Embedder = "default",
    rank: int = 8,
    epochs: int = 4,
    learning_rate: float = 2e-3,
    choose_epochs: bool = False,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> LoraEmbedder:
    """Fine-tune a language model on a log, so that texts tell more of how runs end.

    For each field whose text a surrogate reads (labels such as optimizers or data sets, free text), its
    values are left out in turn; what a surrogate without text then misses of their runs' last outputs is what
    the texts should tell. Afterwards `fit_surrogate(log, embedder=found)`.

    Args:
        log: Runs to learn from; only those of the training part, where a score is to be reported.
        folder: Where the adapter goes; an earlier adapter there is replaced.
        base: Language model, see `fit_surrogate`.
        rank: Rank of the change of each weight matrix.
        epochs: Passes over the texts; the most of them with `choose_epochs`.
        learning_rate: Step length.
        choose_epochs: Let values that are kept out at first choose how many passes there are, possibly none;
            takes four times as long. For logs whose texts may well say nothing: the check of text in
            `fit_surrogate` cannot tell, for the adapter has seen the values that it leaves out.
        seed: Same log and seed, same adapter.
        device: Where to train.
        progress: Show a progress bar.

    Returns:
        The embedder; its `record` says what was learnt from, and with `choose_epochs` how left-out values
        fared after each epoch.

    Raises:
        ConfigError: if no field has eight values with a text, or the folder holds something else.
        EmbeddingError: if the language model cannot be used.
        MissingExtraError: without the extra "lora".

    Cost: see `probscale.encode.tuning.fine_tune`, and one fit without text of the last points.
    """
    check_log(log, "fine_tune_embedder")
    import_peft()
    texts, targets, groups = text_residuals(log, seed=seed)
    return fine_tune(
        texts,
        targets,
        groups=groups,
        folder=folder,
        base=base,
        rank=rank,
        epochs=epochs,
        learning_rate=learning_rate,
        choose_epochs=choose_epochs,
        seed=seed,
        device=device,
        progress=progress,
    )


def text_residuals(
    log: RunLog, *, seed: int = 0
) -> tuple[dict[str, list[str]], dict[str, NDArray[np.float64]], dict[str, list[str]]]:
    """What the texts of each field should tell: misses of left-out values without text.

    Returns:
        By field: the text of each run; its residual given all runs of other values, in predictive standard
        deviations; and its value, or where the values of one level lie above those of a field of free text,
        the value of that level.

    Raises:
        ConfigError: if no field has eight values with a text.
    """
    generator = generator_of(seed)
    finals = canonical(log.measured(log.output)).finals()
    if finals.n_runs > MOST_RUNS:
        chosen = np.zeros(finals.n_runs, dtype=bool)
        chosen[generator.permutation(finals.n_runs)[:MOST_RUNS]] = True
        finals = finals.select(chosen)
    encoder = fit_encoder(finals, None)
    told = read_texts(encoder.features, finals.configs)
    values = {name: _values(finals, name, name in encoder.features.free_text) for name in told}
    enough = [name for name in told if len(set(values[name])) >= FEWEST_GROUPS]
    if not enough:
        counts = {name: len(set(kept)) for name, kept in values.items()}
        raise ConfigError(
            f"no field has {FEWEST_GROUPS} values with a text to learn from (found "
            f'{counts or "no text at all"}); fit with embedder="default", the language model as it is',
            values=counts,
        )
    expert, _, points = fit_output(finals, (encoder,), FitOptions(average=False), generator)
    state = expert.states[int(np.argmax(expert.weights))]
    out: tuple[dict, dict, dict] = ({}, {}, {})
    for name in enough:
        own = np.array(values[name])[points.codes]
        residual, variance = state.leave_groups_out(np.unique(own, return_inverse=True)[1].astype(np.intp))
        noise = state.process.noise(state.data.rows).detach()
        scaled = (residual / (variance + noise).sqrt()).numpy()
        out[0][name] = [told[name][code] for code in points.codes]
        out[1][name] = scaled.clip(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        out[2][name] = own.tolist()
    return out


def _values(log: RunLog, name: str, free: bool) -> list[str]:
    """The value of each run that is left out together with those equal to it."""
    own = log.configs[name].map(label)
    for level in log.roles.levels if free else ():
        above = log.configs[level].map(label)
        if above.nunique() > 1 and above.groupby(own).nunique().max() == 1:
            return above.tolist()
    return own.tolist()
