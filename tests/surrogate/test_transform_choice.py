"""Scores get the transform that foretells what was left out, whatever smooth curves would like best."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

import probscale as ps
from probscale.encode.encoder import fit_encoder
from probscale.model.exact import solve_exactly
from probscale.model.transforms import Affine, LogFloor, LogOdds, LogScore, OutputTransform, log_slope
from probscale.surrogate.fitting import quick_fit
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import prepare
from probscale.surrogate.rows import layout_of
from probscale.surrogate.transform_choice import left_out_density


def scores(kind, seed=0):
    """Curves of pairs whose effects multiply, add up, halve what is missing, or add up to a rise from nothing."""
    generator = np.random.default_rng(seed)
    first, second = generator.uniform(-1, 1, (2, 6))
    rows = []
    for i, j in ((i, j) for i in range(6) for j in range(6) if (i + 2 * j) % 5):
        size = np.geomspace(1e3, 1e6, 6)
        effect = first[i] + second[j] + 0.25 * np.log10(size / 1e3)
        effect = effect + 0.01 * generator.standard_normal(6)
        score = {
            "multiplied": 6 * np.exp(effect),
            "added": 50 + 14 * effect,
            "closing": 100 - 12 * np.exp(-effect),
            "begun": (30 + 7 * (first[i] + second[j])) * (1 - np.exp(-((size / 3e4) ** 0.7)))
            + 0.2 * generator.standard_normal(6),
        }
        rows.append(pd.DataFrame({"one": f"a{i}", "other": f"b{j}", "size": size, "score": score[kind]}))
        rows[-1]["run"] = f"{i}-{j}"
    roles = {"run": "run", "axis": "size", "output": "score", "goal": "max", "levels": ("one", "other")}
    return ps.RunLog.from_frame(pd.concat(rows, ignore_index=True), **roles)


@pytest.mark.parametrize(
    ("kind", "name"), [("multiplied", "log odds of score"), ("closing", "log(100 - score")]
)
def test_the_scale_on_which_effects_add_up_is_found(kind, name):
    surrogate = ps.fit_surrogate(scores(kind), embedder=None, options=FitOptions(rounds=1, iterations=30))
    assert surrogate.report.experts[0].transform.startswith(name)


def test_added_effects_are_left_as_they_are():
    surrogate = ps.fit_surrogate(scores("added"), embedder=None, options=FitOptions(rounds=1, iterations=30))
    assert "score" not in surrogate.report.experts[0].transform


def test_new_pairs_are_foretold_most_surely_where_scores_start_at_nothing():
    surrogate = ps.fit_surrogate(scores("begun"), embedder=None, options=FitOptions(rounds=1, iterations=30))
    assert surrogate.report.experts[0].transform.startswith("(output")
    new = [{"one": "a6", "other": "b6"}]
    early, late = surrogate.predict(new, [1e3, 1e6]).std[0]
    assert early < 0.3 * late


@pytest.mark.parametrize(
    ("transform", "grows"),
    [
        (Affine(40.0, -10.0, 100.0), True),
        (LogOdds(0.4, 100.0), True),
        (LogScore(0.002), True),
        (Affine(0.0, -10.0), False),
        (Affine(3.0, 0.5), False),
        (LogFloor(0.1), False),
        (LogFloor(0.1, 100.0), False),
    ],
    ids=lambda value: value.name if isinstance(value, OutputTransform) else "",
)
def test_curves_come_apart_along_the_way_where_scores_start_at_nothing(transform, grows):
    assert layout_of(fit_encoder(scores("added"), None), transform).growth is grows


def test_the_density_is_that_of_conditioning_on_everything_else():
    log = scores("multiplied")
    encoder, generator = fit_encoder(log, None), np.random.default_rng(0)
    points = prepare(log, encoder, transform="score", share=0.0, most=2_000, generator=generator)
    state = quick_fit("plane", FitOptions(iterations=20))(points)
    table = log.points.merge(log.configs.reset_index(), on="run")
    means = []
    for groups in (table["run"], table["one"], table["other"]):
        parts = []
        for group in groups.unique():
            out, rest = (
                torch.from_numpy(np.flatnonzero(kept)) for kept in (groups == group, groups != group)
            )
            rows = state.data.rows.take(out)
            mean, variance = solve_exactly(state.process, state.data.take(rest)).marginals(rows)
            with torch.no_grad():
                deviation = (variance + state.process.noise(rows)).sqrt().numpy()
            score = points.output[out.numpy()]
            # The density of a score is that of its log odds times their slope.
            more, less = score + points.transform.offset, 100 - score + points.transform.offset
            odds = norm.logpdf(np.log(more / less), mean.numpy(), deviation)
            parts.append(odds + np.log(1 / more + 1 / less))
        means.append(np.concatenate(parts).mean())
    assert left_out_density(points, state) == pytest.approx(np.mean(means), rel=1e-6)


def test_the_largest_of_three_sizes_is_left_out_too():
    log = scores("multiplied")
    frame = log.to_frame().drop(columns="diverged")
    frame["N"] = frame.one.map({f"a{i}": 10.0 ** (6 + i // 2) for i in range(6)})
    roles = {"run": "run", "axis": "size", "output": "score", "goal": "max", "params": "N"}
    log = ps.RunLog.from_frame(frame.drop(columns=["one", "other"]), **roles)
    encoder, generator = fit_encoder(log, None), np.random.default_rng(0)
    points = prepare(log, encoder, transform="score", share=0.0, most=2_000, generator=generator)
    state = quick_fit("law", FitOptions(iterations=20))(points)
    size = points.data.rows.size.numpy()
    residual, variance = state.leave_groups_out(points.cells)
    with torch.no_grad():
        variance = variance + state.process.noise(points.data.rows)
    slope = log_slope(points.transform, points.output).mean()
    cells = norm.logpdf(residual.numpy(), 0.0, variance.sqrt().numpy()).mean() + slope
    largest = state.density_without(np.flatnonzero(size == size.max())).mean() + slope
    assert left_out_density(points, state) == pytest.approx((cells + largest) / 2, rel=1e-6)
