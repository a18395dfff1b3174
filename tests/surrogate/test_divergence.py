"""Diverged runs: set apart in the fit, reported, and how probable divergence is, also after loading."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.options import FitOptions

RATES = (1e-4, 1e-3, 5e-3, 1e-2, 2e-2)
ASKED = [{"N": 1e7, "lr": lr} for lr in RATES]
AT = [1e8, 4e8]


def runs(diverge_above):
    """Forty curves of a law; learning rates above a threshold end near the loss of a guess."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(40):
        lr, size = 10 ** rng.uniform(-4, -1.5), 10 ** rng.uniform(6, 7.5)
        for tokens in (1e8, 2e8, 4e8):
            loss = 1.5 + 200 * size**-0.4 + 60 * tokens**-0.27 + 0.03 * np.log(lr / 2e-3) ** 2
            if lr > diverge_above:
                loss = 7 + 0.3 * rng.standard_normal()
            noise = 1 + 0.003 * rng.standard_normal()
            rows.append({"run": f"r{number}", "N": size, "lr": lr, "tokens": tokens, "loss": loss * noise})
    return ps.RunLog.from_frame(pd.DataFrame(rows), run="run", axis="tokens", output="loss", params="N")


def fitted(log):
    return ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=8, rounds=1))


@pytest.fixture(scope="module")
def log():
    return runs(1e-2)


@pytest.fixture(scope="module")
def surrogate(log):
    return fitted(log)


def test_the_report_counts_the_runs_set_apart(surrogate, log):
    count = int((log.configs["lr"] > 1e-2).sum())
    assert surrogate.report.diverged == count
    assert f"runs that diverged: {count}" in str(surrogate.report)
    assert surrogate.report.to_dict()["experts"][0]["diverged"] == count


def test_divergence_is_probable_where_runs_diverged(surrogate):
    probability = surrogate.predict(ASKED, AT).prob_diverge
    assert probability.shape == (5,)
    assert probability.dtype == np.float64
    assert (probability[:2] < 0.2).all()
    assert probability[4] > 0.6
    assert (np.diff(probability[1:]) > 0).all()


def test_curves_describe_runs_that_do_not_diverge(surrogate):
    assert (surrogate.predict(ASKED, AT).quantile(0.95) < 3).all()


def test_the_latent_view_and_the_table_keep_the_probability(surrogate):
    curves = surrogate.predict(ASKED, AT)
    np.testing.assert_array_equal(curves.latent().prob_diverge, curves.prob_diverge)
    np.testing.assert_array_equal(curves.to_frame()["prob_diverge"], np.repeat(curves.prob_diverge, 2))


def test_the_table_of_candidates_says_which_may_diverge(surrogate):
    table = surrogate.best(ASKED, 4e8).table
    expected = surrogate.predict(ASKED, [4e8]).prob_diverge
    np.testing.assert_allclose(table["prob_diverge"].sort_index(), expected)


def test_the_last_asked_point_counts_whatever_the_order(surrogate):
    forward, backward = (surrogate.predict(ASKED, at).prob_diverge for at in (AT, AT[::-1]))
    np.testing.assert_allclose(forward, backward, rtol=1e-12)


def test_saving_keeps_curves_and_probabilities(surrogate, tmp_path):
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    one, two = (s.predict(ASKED, AT) for s in (surrogate, loaded))
    np.testing.assert_allclose(two.prob_diverge, one.prob_diverge, rtol=1e-10)
    np.testing.assert_allclose(two.mean, one.mean, rtol=1e-10)
    np.testing.assert_allclose(two.std, one.std, rtol=1e-10)
    assert loaded.report == surrogate.report
    loaded.save(tmp_path / "again.safetensors")
    assert ps.load_surrogate(tmp_path / "again.safetensors").report.diverged == surrogate.report.diverged


@pytest.mark.parametrize("model", ["exact", "latent", "grid"])
def test_divergence_is_learnt_from_so_many_runs_at_most(model, log, monkeypatch):
    monkeypatch.setattr("probscale.surrogate.prepare.MOST_CLASSIFIED", 15)
    frame = log.to_frame().drop(columns="diverged")
    frame["half"] = np.where(frame["run"].str[1:].astype(int) % 2, "odd", "even")
    halves = ps.RunLog.from_frame(frame, **log.roles.arguments() | {"levels": ("half",), "params": None})
    if model == "grid":
        grid = frame.loc[np.repeat(frame.index, 2)].reset_index(drop=True)
        grid.loc[1::2, "tokens"] *= 1.2
        halves = ps.RunLog.from_frame(grid, **halves.roles.arguments())
    options = FitOptions(iterations=2, rounds=1)
    surrogate = ps.fit_surrogate(halves, embedder=None, model=model, options=options)
    divergence = surrogate.experts["all runs"].divergence
    assert len(divergence.rows) == 15
    assert 0 < divergence.count < 15


@pytest.mark.parametrize("model", ["exact", "latent", "grid", "functional"])
@pytest.mark.parametrize("begun", [True, False])
def test_divergence_is_learnt_from_runs_that_end_in_nan(model, begun):
    frame = runs(1.0).to_frame().drop(columns="diverged")
    frame["half"] = np.where(frame["run"].str[1:].astype(int) % 2, "odd", "even")
    more = [frame.assign(tokens=frame["tokens"] * s, loss=frame["loss"] * s**-0.05) for s in (1, 1.2, 1.4)]
    frame = pd.concat(more).sort_values(["run", "tokens"])
    broken = frame["lr"] > 1e-2
    frame.loc[broken & (frame["tokens"] > (1e8 if begun else 0)), "loss"] = np.nan
    if begun:
        frame = frame[~broken | (frame["tokens"] <= 1.2e8)]  # the job was stopped then
    roles = {"run": "run", "axis": "tokens", "output": "loss"}
    roles |= {"levels": ("half",)} if model in ("latent", "grid") else {"params": "N"}
    log = ps.RunLog.from_frame(frame, **roles, nonfinite="diverged")
    surrogate = ps.fit_surrogate(log, embedder=None, model=model, options=FitOptions(iterations=8, rounds=1))
    assert surrogate.report.diverged == int((log.configs["lr"] > 1e-2).sum())
    curves = surrogate.predict([config | {"half": "odd"} for config in ASKED], AT)
    assert (curves.prob_diverge[:2] < 0.1).all()
    assert curves.prob_diverge[4] > 2.5 * curves.prob_diverge[:2].max()
    assert (curves.quantile(0.95) < 4.5).all()


def test_a_run_that_goes_on_from_a_spike_has_not_diverged():
    frame = runs(1.0).to_frame().drop(columns="diverged")
    frame.loc[(frame["lr"] > 1e-2) & (frame["tokens"] == 2e8), "loss"] = np.nan
    roles = {"run": "run", "axis": "tokens", "output": "loss", "params": "N", "nonfinite": "diverged"}
    surrogate = fitted(ps.RunLog.from_frame(frame, **roles))
    assert surrogate.report.diverged == 0


def test_without_diverged_runs_the_probability_is_zero():
    stable = fitted(runs(1.0))
    curves = stable.predict(ASKED, AT)
    np.testing.assert_array_equal(curves.prob_diverge, np.zeros(5))
    assert "prob_diverge" not in curves.to_frame()
    assert "prob_diverge" not in stable.best(ASKED, 4e8).table
    assert stable.report.diverged == 0
    assert "diverged" not in str(stable.report)


@pytest.fixture(scope="module", params=["exact", "latent", "grid", "functional"])
def several(request):
    """A log of two outputs of runs of which some end in NaN, and what each engine makes of it."""
    frame = runs(1.0).to_frame().drop(columns="diverged")
    frame["half"] = np.where(frame["run"].str[1:].astype(int) % 2, "odd", "even")
    more = [frame.assign(tokens=frame["tokens"] * s, loss=frame["loss"] * s**-0.05) for s in (1, 1.2, 1.4)]
    frame = pd.concat(more).sort_values(["run", "tokens"]).reset_index(drop=True)
    frame["other"] = 1.2 * frame["loss"] * (1 + 0.002 * np.sin(np.arange(len(frame))))
    frame.loc[(frame["lr"] > 1e-2) & (frame["tokens"] > 1e8), ["loss", "other"]] = np.nan
    roles = {"run": "run", "axis": "tokens", "output": ["loss", "other"], "nonfinite": "diverged"}
    roles |= {"levels": ("half",)} if request.param in ("latent", "grid") else {"params": "N"}
    log = ps.RunLog.from_frame(frame, **roles)
    options = FitOptions(iterations=8, rounds=1)
    few = ps.fit_surrogate(
        log.select(np.arange(40) < 32), embedder=None, model=request.param, options=options
    )
    return log, few


@pytest.mark.parametrize("output", ["loss", "other"])
def test_divergence_of_runs_of_several_outputs_is_learnt(several, output, tmp_path):
    log, few = several
    asked = [config | {"half": "odd"} for config in ASKED]
    more = few.condition(log)
    more.save(tmp_path / "s.safetensors")
    again = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=8, rounds=1), start=few)
    for surrogate in (few, more, again, ps.load_surrogate(tmp_path / "s.safetensors")):
        probability = surrogate.predict(asked, AT, output=output).prob_diverge
        assert (probability[:2] < 0.2).all()
        assert probability[4] > 2.5 * probability[:2].max()
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    one, other = (s.predict(asked, AT, output=output).prob_diverge for s in (more, loaded))
    np.testing.assert_allclose(other, one, rtol=1e-10)
    last = log.configs.index[-1:].tolist()
    known = more.predict(pd.DataFrame({"run": last}), AT, output=output)
    assert np.isfinite(known.mean).all()


@pytest.mark.parametrize("levels", [(), ("corpus",)])
def test_the_few_runs_of_a_harder_corpus_have_not_diverged(levels):
    frame = runs(1.0).to_frame().drop(columns="diverged", errors="ignore")
    hard = frame["run"].isin([f"r{number}" for number in range(0, 40, 10)])
    frame["loss"] *= np.where(hard, 1.8, 1.0)
    frame["corpus"] = np.where(hard, "code", "web")
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N", levels=levels)
    surrogate = fitted(log)
    assert surrogate.report.diverged == 0
    asked = [{"N": 1e7, "lr": 1e-3, "corpus": corpus} for corpus in ("web", "code")]
    web, code = surrogate.predict(asked, [4e8]).median[:, 0]
    assert 1.5 < code / web < 2.1
