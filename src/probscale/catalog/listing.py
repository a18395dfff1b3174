"""The data sets of the catalogue."""

from __future__ import annotations

from probscale.catalog.entry import CatalogEntry

_SOURCES = "losses of the two sources do not compare (tokenizer, corpus, metric): source is a level"
_SCHRAM = (
    "Schram, Hiller, Beck and Cohn 2025, Zero-shot performance prediction for probabilistic scaling laws"
)
_DECAYED = "the learning rate decays over the planned length, so a prefix is not a shorter run"

ENTRIES: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            "ncpl",
            "NCPL / LossCast: runs of Marin (11 optimizers) and StepLaw with full configurations",
            "https://github.com/dangxingyu/losscast-bench",
            ("data/*/*/config.json", "data/*/*/losses.json"),
            "MIT",
            "Zhang, Wen and Ma 2026, Configuration-to-performance scaling law with neural ansatz",
            axis="tokens",
            outputs=("loss",),
            levels=("source",),
            params="N_params",
            horizon="D_tokens",
            traps=(
                _SOURCES,
                _DECAYED,
                "Marin runs that look identical differ by a median standard deviation of 0.003",
                "some Marin runs stop early; their last loss is above what the full run would reach",
            ),
            corrections=(
                "n_params, d_ff, seq_len, tokens_total, corpus and tokenizer are guesses upstream: sizes and "
                "tokens are recomputed from run name and steps; corpus and tokenizer are left out",
                "the loss of the untrained model at step 0 is left out",
            ),
            checked=(
                "50 of 5,086 runs, as upstream has them; sizes, tokens and curves agree with an "
                "independent copy"
            ),
        ),
        CatalogEntry(
            "nanogpt",
            "nanoGPT learning curves over 5 widths and 6 depths, 11 log-spaced steps each",
            "https://github.com/vschram/ZeroShot_for_PSL",
            ("Datasets/Dataset/init_data/layer_over_embd.txt",),
            "Apache-2.0",
            _SCHRAM,
            axis="tokens",
            outputs=("val_loss",),
            levels=("n_embd", "n_layer"),
            params="N_params",
            traps=("N_params counts embeddings; N_nonembedding does not", "tokens assume 524,288 per step"),
            checked="the whole files; curves and sizes agree with an independent copy",
        ),
        CatalogEntry(
            "nanogpt-small",
            "nanoGPT learning curves over 3 widths and 4 depths, 11 log-spaced steps each",
            "https://github.com/vschram/ZeroShot_for_PSL",
            ("Datasets/Dataset/init_data2/layer_over_embd.csv",),
            "Apache-2.0",
            _SCHRAM,
            axis="tokens",
            outputs=("val_loss",),
            levels=("n_embd", "n_layer"),
            params="N_params",
            traps=("curves of the shapes shared with `nanogpt` are the same runs, with a later last point",),
            checked="the whole files; curves agree with an independent copy",
        ),
        CatalogEntry(
            "bilingual-mt",
            "Translation quality against training size: mBART50 and a Transformer, 30 language pairs",
            "https://github.com/vschram/ZeroShot_for_PSL",
            ("Datasets/Dataset/bilingual/data_LC/*/*/*.npy",),
            "Apache-2.0",
            _SCHRAM,
            axis="train_size",
            outputs=("bleu", "chrf"),
            goal="max",
            levels=("model", "src", "tgt"),
            traps=("each point is a model trained from the start on that much data, not a prefix",),
            checked="the whole files; both scores agree with an independent copy",
        ),
        CatalogEntry(
            "steplaw",
            "StepLaw: final losses over learning rate, batch size, model size and tokens",
            "https://github.com/step-law/steplaw",
            ("data/dense_lr_bs_loss.csv",),
            "no licence text",
            "Li et al. 2025, Predictable scale: part I, step law",
            axis="tokens",
            outputs=("smooth_loss", "loss"),
            params="N_params",
            traps=(
                "diverged runs are among them, with losses near that of an untrained model",
                "one point a run: tokens are configuration as much as progress",
            ),
            corrections=("tokens are steps times batch times 2,048; the column D is rounded",),
            checked=(
                "a part of the table; losses agree with the same runs of ncpl and with its diverged runs"
            ),
        ),
        CatalogEntry(
            "gemstones",
            "Gemstones: width and depth shapes trained to 350 billion tokens at a constant learning rate",
            "https://github.com/mcleish7/gemstone-scaling-laws",
            (
                "wandb_dfs/wandb_df_for_fitting_hot_477.jsonl",
                "wandb_dfs/wandb_df_for_fitting_hot_100b+_477.jsonl",
            ),
            "MIT",
            "McLeish et al. 2025, Gemstones: a model suite for multi-faceted scaling laws",
            axis="tokens",
            outputs=("loss",),
            params="params",
            traps=(
                "the learning rate is constant (hot), so each prefix is a run of its own",
                "the loss is a smoothed training loss",
            ),
            checked="a part of the first file; losses and sizes agree with an independent copy",
        ),
        CatalogEntry(
            "misfitting",
            "(Mis)Fitting: 11 model sizes, several lengths and learning rates, C4 loss at checkpoints",
            "https://github.com/hadasah/scaling_laws",
            ("data/scaling_results.csv",),
            "no licence text",
            "Li et al. 2025, (Mis)Fitting: a survey of scaling laws",
            axis="tokens",
            outputs=("loss",),
            params="params",
            horizon="planned_tokens",
            traps=(_DECAYED, "N_no_emb leaves out embeddings, a third of the smallest models"),
            corrections=(
                "runs whose sweep, model, learning rate and length occur with two losses at one step are "
                "left out: an unrecorded setting differs",
            ),
            checked=(
                "the columns of the file upstream, and an independent copy of all its rows written "
                "in them; not the file itself"
            ),
        ),
        CatalogEntry(
            "multi-power",
            "Multi-power law: 25M, 100M and 400M models under constant, cosine, WSD and two-stage schedules",
            "https://github.com/thu-yao-01-luo/MultiPowerLaw",
            ("loss_curve_repo/csv_*/*.csv",),
            "MIT",
            "Luo et al. 2025, A multi-power law for loss curve prediction across learning rate schedules",
            axis="step",
            outputs=("loss",),
            levels=("schedule_kind",),
            params="params",
            horizon="planned_steps",
            traps=("params are nominal sizes", "runs start at step 2,160 or later, after warm-up"),
            checked="the whole files; curves agree with an independent copy",
        ),
        CatalogEntry(
            "chinchilla",
            "Chinchilla's Figure 4, digitised: 245 final losses",
            "https://github.com/epoch-research/analyzing-chinchilla",
            ("data/svg_extracted_data.csv",),
            "no licence text",
            "Hoffmann et al. 2022; Besiroglu et al. 2024, Chinchilla scaling: a replication attempt",
            axis="tokens",
            outputs=("loss",),
            params="params",
            traps=(
                "losses are read from colours of a figure",
                "five points with few tokens and high loss were excluded in the published fits",
                "tokens are FLOPs / (6 params)",
            ),
            checked="the whole file; agrees with an independent copy",
        ),
        CatalogEntry(
            "lcbench",
            "LCBench: 2,000 configurations of small networks on 35 tabular tasks, 52 epochs",
            "https://github.com/automl/LCBench",
            ("*.json",),
            "see upstream",
            "Zimmer, Lindauer and Hutter 2021, Auto-PyTorch tabular",
            axis="epoch",
            outputs=("val_cross_entropy",),
            levels=("task",),
            traps=(
                "the repository holds code; its README links the JSON files (data_2k_lw.json and others)",
                "cosine annealing over 50 epochs: a prefix is not a shorter run",
            ),
            checked=(
                "no upstream file: the structure is that which the repository's own api.py reads, "
                "tested on five curves of an independent copy written in it"
            ),
        ),
    )
}
