"""Acquisition map and rungs: each mark stands for a row of its table."""

import itertools

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale import plot
from probscale.design import score_actions
from probscale.errors import BudgetError, ConfigError


@pytest.fixture(scope="module")
def pool(log):
    return log.configs.reset_index(drop=True)


@pytest.fixture(scope="module")
def actions(surrogate, pool, cost):
    return score_actions(surrogate, pool, cost=cost, samples=64)


@pytest.fixture(scope="module")
def plan(pool, cost):
    return ps.plan_budget(pool, total=1e18, cost=cost, strategy="halving", worlds=10)


def test_the_best_action_is_what_suggest_chooses_first(actions, surrogate, pool, cost):
    chosen = ps.suggest(surrogate, pool, 1, cost=cost, samples=64)
    best = actions.iloc[actions["score"].to_numpy().argmax()]
    for name in ("N", "lr", "until", "score", "cost"):
        assert chosen[name].iloc[0] == pytest.approx(best[name], rel=1e-9)


def test_a_cell_shows_the_best_score_of_its_actions(ax, actions):
    plot.plot_acquisition(actions, "until", "N", x_unit="tokens", y_unit="parameters", ax=ax)
    (mesh,) = ax.collections
    table = actions.pivot_table(index="N", columns="until", values="score", aggfunc="max")
    np.testing.assert_allclose(mesh.get_array().ravel(), table.to_numpy().ravel())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("until (tokens)", "N (parameters)")


def test_chosen_actions_carry_their_rank(ax, actions):
    top = actions.sort_values("score", ascending=False).head(2)
    plot.plot_acquisition(actions, "until", "N", chosen=top, ax=ax)
    assert "1" in ",".join(text.get_text() for text in ax.texts)


def test_a_scattered_pool_is_drawn_as_dots(ax):
    x, y, score = np.random.default_rng(0).uniform(1, 100, (3, 40))
    plot.plot_acquisition(pd.DataFrame({"x": x, "y": y, "score": score}), "x", "y", ax=ax)
    assert len(ax.collections[0].get_offsets()) == 40


def test_names_label_the_rows(ax):
    frame = pd.DataFrame({"x": [1, 2, 1, 2], "y": ["a", "a", "b", "b"], "score": [1.0, 2.0, 0.0, -1.0]})
    plot.plot_acquisition(frame, "x", "y", chosen=frame.iloc[[1]], ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_maps_of_nothing_are_refused(ax, actions):
    with pytest.raises(ConfigError, match="no finite 'score'"):
        plot.plot_acquisition(actions.assign(score=np.nan), "until", "N", ax=ax)
    with pytest.raises(ConfigError, match="no column 'width'"):
        plot.plot_acquisition(actions, "width", "N", ax=ax)


def test_rungs_span_what_their_runs_are_trained_to(ax, plan):
    plot.plot_rungs(plan, ax=ax)
    table = plan.table()
    bars = [patch for patch in ax.patches if patch.get_width() > 0]
    assert len(bars) == len(table)
    for bar, (_, rung) in zip(bars, table.iterrows(), strict=True):
        assert bar.get_x() == pytest.approx(rung["tokens (least)"], rel=0.05)
        assert bar.get_x() + bar.get_width() == pytest.approx(rung["tokens (most)"], rel=0.05)
    texts = [text.get_text() for text in ax.texts]
    assert f"{100 * table['share'].iloc[0]:.0f} % of budget" in texts[0]
    assert ax.get_xlabel() == "trained to (tokens)"


def test_a_mean_of_nearly_one_run_is_one_run(ax, plan):
    import dataclasses

    part = plan.rungs.iloc[[0, 0]].assign(runs=[1.04, 1.6]).reset_index(drop=True)
    plot.plot_rungs(dataclasses.replace(plan, rungs=part), ax=ax)
    assert [label.get_text().split(maxsplit=3)[-1] for label in ax.get_yticklabels()] == [
        "3\n1 run",
        "3\n1.6 runs",
    ]


def test_a_plan_without_rungs_is_refused(ax, plan):
    import dataclasses

    with pytest.raises(BudgetError, match="no rung"):
        plot.plot_rungs(dataclasses.replace(plan, rungs=plan.rungs.iloc[:0]), ax=ax)


def test_a_scattered_pool_of_names_is_drawn_at_their_ranks(ax):
    names = [f"run {i:02d} of a sweep with a long name" for i in range(12)]
    frame = pd.DataFrame({"x": np.arange(1.0, 13), "y": names, "score": 1.0})
    plot.plot_acquisition(frame, "x", "y", chosen=frame.iloc[[3]], ax=ax)
    assert ax.collections[0].get_offsets()[:, 1].tolist() == list(range(12))
    assert ax.texts[0].xy == (4.0, 3.0)
    assert all(len(label.get_text()) <= 24 for label in ax.get_yticklabels())


@pytest.mark.parametrize("rungs", [3, 14, 200])
def test_words_beside_rungs_do_not_touch(plan, rungs):
    import dataclasses

    import matplotlib.pyplot as plt

    part = plan.rungs.iloc[[0] * rungs].reset_index(drop=True)
    ax = plot.plot_rungs(dataclasses.replace(plan, rungs=part))
    ax.figure.draw_without_rendering()
    for words in (ax.get_yticklabels(), ax.texts):
        boxes = sorted(
            (text.get_window_extent() for text in words if text.get_text()), key=lambda box: box.y0
        )
        assert boxes
        assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    plt.close(ax.figure)


def test_gains_name_their_marks_and_nothing_is_refused(ax):
    table = pd.DataFrame(
        {
            "strategy": ["a", "b"],
            "gain %": [1.0, -2.0],
            "± se": [0.5, np.nan],
            "worst setting %": [-3.0, -4.0],
        }
    )
    plot.plot_gains(table, ax=ax)
    assert ax.get_legend_handles_labels()[1] == ["± one standard error", "worst setting"]
    (marks,) = (line for line in ax.lines if line.get_label() == "worst setting")
    assert not marks.get_clip_on()
    with pytest.raises(ConfigError, match="no strategy"):
        plot.plot_gains(table.iloc[:0], ax=ax)
    with pytest.raises(ConfigError, match="no game"):
        plot.plot_learning(pd.DataFrame({"strategy": [], "seed": [], "spent": [], "abc": []}), ax=ax)


def test_learning_is_the_mean_over_seeds_and_what_has_vanished_does_not_fill_the_picture(ax):
    rows = [
        ("a", 0, 0.1, 1.0),
        ("a", 0, 0.5, 1e-9),
        ("a", 1, 0.1, 3.0),
        ("a", 1, 0.2, 1e-9),
        ("b", 0, 0.1, 4.0),
    ]
    plot.plot_learning(pd.DataFrame(rows, columns=["strategy", "seed", "spent", "abc"]), ax=ax)
    a, b = (line for line in ax.lines if line.get_label() in ("a", "b"))
    at, error = a.get_data()
    expected = np.where(at < 0.2, 2.0, np.where(at < 0.5, 0.5, 4e-3))
    np.testing.assert_allclose(error, expected)
    assert set(b.get_ydata()) == {4.0}
