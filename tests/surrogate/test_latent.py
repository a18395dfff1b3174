"""model="latent" behind the contract of every surrogate."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, FitError
from probscale.runs import RunLog
from tolerances import EXACT

WIDTHS, DEPTHS = (256, 512, 1024, 2048), (4, 8, 16, 32)
STEPS = np.geomspace(10, 1000, 6)


def curve(width, depth):
    return 2.0 + 30 * width**-0.4 + 1.5 * depth**-0.5 + 4 * STEPS**-0.5 * (1 + 0.1 * np.log(width / 256))


def grid_log(*, leave_out=(), levels=("width", "depth"), seed=0):
    """Every width with every depth, one run each, some cells left out."""
    rng = np.random.default_rng(seed)
    frames = [
        pd.DataFrame({"run": f"{w}x{d}", "width": w, "depth": d, "step": STEPS,
                      "loss": curve(w, d) * (1 + 0.002 * rng.standard_normal(len(STEPS)))})
        for w in WIDTHS for d in DEPTHS if (w, d) not in leave_out
    ]  # fmt: skip
    return RunLog.from_frame(pd.concat(frames), run="run", axis="step", output="loss", levels=levels)


@pytest.fixture(scope="module")
def log():
    return grid_log(leave_out={(2048, 32), (1024, 32)})


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, model="latent", embedder=None)


def test_an_unseen_cell_borrows_from_both_margins(surrogate):
    asked = [{"width": 2048, "depth": 32}, {"width": 1024, "depth": 32}]
    curves = surrogate.predict(asked, STEPS)
    truth = np.stack([curve(2048, 32), curve(1024, 32)])
    lower, upper = curves.interval(0.99)
    assert np.abs(curves.mean - truth).max() < 0.08
    assert np.mean((truth >= lower) & (truth <= upper)) > 0.8


def test_uncertainty_grows_from_known_cell_to_new_member_to_new_task(surrogate):
    asked = [{"width": 512, "depth": 8}, {"width": 512, "depth": 64}, {"width": 9999, "depth": 64}]
    std = surrogate.predict(asked, STEPS).latent().std.mean(axis=1)
    assert std[0] < std[1]
    assert std[0] < std[2]


def test_the_report_names_both_orders_and_takes_the_better(surrogate):
    (entry,) = surrogate.report.experts
    assert set(entry.orders) == {"width > depth", "depth > width"}
    assert next(iter(entry.orders.values())) == max(entry.orders.values())
    assert "latent" in entry.engine
    assert "orders" in str(surrogate.report)


def test_curves_are_drawn_jointly(surrogate):
    curves = surrogate.predict([{"width": 9999, "depth": 8}], STEPS).latent()
    draws = curves.sample(4000, seed=1)
    np.testing.assert_allclose(draws.mean(axis=0), curves.mean, rtol=0.05)
    assert np.corrcoef(draws[:, 0].T)[0, 1] > 0.5
    np.testing.assert_array_equal(draws, curves.sample(4000, seed=1))


def test_a_run_of_a_new_task_teaches_about_its_other_members(log, surrogate):
    frame = pd.DataFrame(
        {"run": "new", "width": 4096, "depth": 8, "step": STEPS, "loss": curve(4096, 8) + 0.5}
    )
    more = RunLog.from_frame(frame, **log.roles.arguments())
    asked = [{"width": 4096, "depth": 16}]
    before, after = (s.predict(asked, STEPS) for s in (surrogate, surrogate.condition(more)))
    truth = curve(4096, 16) + 0.5
    assert np.abs(after.mean - truth).mean() < np.abs(before.mean - truth).mean()
    assert after.latent().std.mean() < before.latent().std.mean()


def test_conditioning_equals_one_exact_solve(log, surrogate):
    """Data in two parts or at once: the same process gives the same posterior."""
    from probscale.model.exact import solve_exactly

    frame = grid_log().to_frame().drop(columns="diverged").query("run == '2048x32'")
    more = RunLog.from_frame(frame, **log.roles.arguments())
    conditioned = surrogate.condition(more).experts["all runs"].states[0]
    fresh = solve_exactly(conditioned.process, conditioned.data)
    rows = conditioned.data.rows
    for one, two in zip(conditioned.marginals(rows), fresh.marginals(rows), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-7)


def test_a_saved_surrogate_gives_the_same_answers(surrogate, tmp_path):
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    asked = [{"width": 2048, "depth": 32}, {"width": 9999, "depth": 8}]
    one, two = (s.predict(asked, STEPS) for s in (surrogate, loaded))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)
    assert loaded.report == surrogate.report


def test_same_seed_same_surrogate(log, surrogate):
    again = ps.fit_surrogate(log, model="latent", embedder=None)
    asked = [{"width": 2048, "depth": 32}]
    np.testing.assert_array_equal(again.predict(asked, STEPS).mean, surrogate.predict(asked, STEPS).mean)


def test_one_level_takes_runs_as_members():
    log = grid_log(levels=("width",))
    surrogate = ps.fit_surrogate(log, model="latent", embedder=None)
    assert list(surrogate.report.experts[0].orders) == ["width > run"]
    asked = pd.DataFrame({"run": ["512x8"], "width": [512], "depth": [8]})
    found = surrogate.predict(asked, STEPS).mean[0]
    np.testing.assert_allclose(found, curve(512, 8), rtol=0.02)


def test_text_foretells_where_a_new_task_lies():
    """Tasks whose names share words share curves: a new name with these words is not met by surprise."""
    from probscale.encode.embedders import get_embedder

    rng = np.random.default_rng(0)
    names = [f"{kind} {thing}" for kind in ("large image", "tiny poem") for thing in "abcdef"]
    frames = []
    for name in names[:-1]:
        shift = 1.0 if name.startswith("large") else 0.0
        for member in ("x", "y"):
            loss = 2 + shift + 3 * STEPS**-0.5 + 0.01 * rng.standard_normal(len(STEPS))
            table = {"run": f"{name}/{member}", "corpus": name, "step": STEPS, "loss": loss}
            frames.append(pd.DataFrame(table))
    log = RunLog.from_frame(
        pd.concat(frames), run="run", axis="step", output="loss", levels=("corpus",), config=()
    )
    asked = [{"corpus": "tiny poem f"}]
    truth = 2 + 3 * STEPS**-0.5
    errors = [
        np.abs(ps.fit_surrogate(log, model="latent", embedder=e).predict(asked, STEPS).median - truth).mean()
        for e in (get_embedder("default"), None)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_a_log_without_levels_is_told_what_to_declare():
    log = ps.simulate_runs("law", n_runs=8, points=5, seed=1)
    bare = RunLog.from_frame(
        log.to_frame().drop(columns="diverged"), **log.roles.arguments() | {"levels": ()}
    )
    with pytest.raises(FitError, match="declare one"):
        ps.fit_surrogate(bare, model="latent", embedder=None)


def test_an_unknown_model_is_named_with_the_choices(log):
    with pytest.raises(ConfigError, match=r"'hmogp'.*'auto', .*'latent'"):
        ps.fit_surrogate(log, model="hmogp", embedder=None)


def test_uncertain_positions_keep_the_contract_and_widen_what_is_borrowed(log, surrogate, tmp_path):
    uncertain = ps.fit_surrogate(log, model="latent-variational", embedder=None)
    spread = uncertain.experts["all runs"].states[0].process.tasks.spread
    assert float(spread.min()) > 0
    asked = [{"width": 2048, "depth": 32}, {"width": 9999, "depth": 8}]
    curves = uncertain.predict(asked, STEPS)
    assert np.abs(curves.mean[0] - curve(2048, 32)).max() < 0.15
    assert curves.latent().std[0].mean() > 0.8 * surrogate.predict(asked, STEPS).latent().std[0].mean()
    uncertain.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    np.testing.assert_allclose(loaded.predict(asked, STEPS).std, curves.std, rtol=EXACT)
