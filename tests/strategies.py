"""Hypothesis strategies: frames of runs as users have them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

ROLES = {"run": "run_id", "axis": "tokens", "output": "loss", "levels": ("source", "width"), "params": "N"}

positive = st.floats(1e-3, 1e6, allow_nan=False, allow_infinity=False)


@st.composite
def axes(draw, max_points=8):
    """Strictly increasing axis values, whole or real numbers."""
    steps = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=max_points))
    values = np.cumsum(steps)
    return values if draw(st.booleans()) else values / 7.0


@st.composite
def run_frames(draw, max_runs=6, max_points=8, interleaved=True):
    """A long-format frame with the roles `ROLES`, rows of different runs possibly alternating."""
    runs = draw(
        st.lists(st.text("abcxyz-_.019", min_size=1, max_size=6), min_size=1, max_size=max_runs, unique=True)
    )
    whole = draw(st.booleans())
    rows = []
    for run in runs:
        described = {
            "run_id": run,
            "source": draw(st.sampled_from(["marin", "steplaw", "C4 → eval"])),
            "width": draw(st.sampled_from([64, 128, 256])),
            "N": draw(st.sampled_from([1e6, 3e6, 1e9])),
            "lr": draw(st.one_of(st.none(), st.sampled_from([1e-3, 3e-4, 0.0]))),
            "optimizer": draw(st.one_of(st.none(), st.sampled_from(["adamw", "muon"]))),
            "tied": draw(st.booleans()),
        }
        places = draw(axes(max_points))
        losses = draw(st.lists(positive, min_size=len(places), max_size=len(places)))
        rows += [
            described | {"tokens": int(place) if whole else float(place), "loss": loss}
            for place, loss in zip(places, losses, strict=True)
        ]
    if whole:
        rows = list({(row["run_id"], row["tokens"]): row for row in rows}.values())
    frame = pd.DataFrame(rows)
    if interleaved and draw(st.booleans()):
        order = np.argsort(frame["tokens"].to_numpy(), kind="stable")
        frame = frame.iloc[order]
    return frame
