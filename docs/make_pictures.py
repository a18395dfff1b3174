"""The pictures of these pages, from the bundled runs: `python docs/make_pictures.py`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import probscale as ps
from probscale.plot import plot_fan, plot_frontier, style
from probscale.runs import split_by_scale

HOME = Path(__file__).resolve().parent
GREY = "0.62"


def bundled() -> ps.RunLog:
    """The runs of datasets/stdlib_gpt, with the settings that vary."""
    return ps.read_runs(
        HOME.parent / "datasets" / "stdlib_gpt" / "curves.csv.gz",
        run="run_id",
        axis="tokens",
        output="loss",
        params="N_params",
        config=["width", "depth", "learning_rate", "batch_size"],
    )


def shapes() -> list[dict[str, float]]:
    """Configurations of the family, trained or not, up to twice the width of the runs."""
    return [
        {
            "width": w,
            "depth": d,
            "N_params": d * (12 * w * w + 2 * w) + w,
            "learning_rate": rate,
            "batch_size": 8,
        }
        for w in (32, 64, 96, 128, 192, 256, 384)
        for d in (1, 2, 4)
        for rate in (1e-3, 3e-3, 1e-2)
    ]


def idea(log: ps.RunLog) -> Figure:
    """What is seen, what is forecast, what follows."""
    seen, held = split_by_scale(log, hold_out=5)
    surrogate = ps.fit_surrogate(seen, embedder=None, seed=0)
    figure = Figure(figsize=(12.6, 4.1), layout="constrained", dpi=140)
    left, middle, right = figure.subplots(1, 3)
    for _, part in seen.points.groupby("run_id", sort=False):
        left.plot(part["tokens"], part["loss"], color=GREY, linewidth=0.8, alpha=0.8)
    left.set_title(
        f"seen: {seen.n_runs} runs of up to {seen.configs['N_params'].max():,} parameters", fontsize=10
    )
    sizes = held.configs.sort_values(["N_params", "learning_rate"])
    sizes = sizes[(sizes["batch_size"] == 8)].drop_duplicates("N_params", keep="first").iloc[[0, 2, -1]]
    for colour, (run, config) in zip(("#0072B2", "#D55E00", "#009E73"), sizes.iterrows(), strict=True):
        points = held.points[held.points["run_id"] == run]
        curves = surrogate.predict(config.to_frame().T.reset_index(drop=True), points["tokens"].to_numpy())
        bands = {0.9: tuple(side[0] for side in curves.interval(0.9))}
        name = f"{int(config['N_params']):,} parameters"
        plot_fan(
            points["tokens"], curves.mean[0], bands, ax=middle, colour=colour, label=name, band_label=None
        )
        every = points.iloc[::4]
        middle.plot(every["tokens"], every["loss"], ".", color=colour, markersize=5)
    middle.set_title("forecast: larger models (90 %); dots: what came", fontsize=10)
    middle.legend(frameon=False, fontsize=8)
    for ax in (left, middle):
        ax.set(
            xlabel="tokens",
            ylabel="held-out loss (nats per byte)",
            ylim=(1.6, 4.2),
            xlim=(2e4, 4.5e6),
        )
        style.log_scale(ax, "x", [2e4, 4.5e6])
        style.finish(ax)
    cost = ps.FlopsCost(params="N_params")
    compute, longest = np.geomspace(1e10, 2e13, 20), seen.points["tokens"].max()
    frontier = ps.fit_frontier(surrogate, shapes(), compute=compute, cost=cost, until=longest, seed=0)
    plot_frontier(frontier, log=seen, cost=cost, unit="nats per byte", ax=right)
    right.legend(loc="lower left", frameon=False, fontsize=9)
    right.set_title("follows: the best loss that compute can reach", fontsize=10)
    return figure


if __name__ == "__main__":
    idea(bundled()).savefig(HOME / "images" / "idea.png")
