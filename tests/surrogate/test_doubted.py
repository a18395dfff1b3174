"""Points taken for outliers are named by their runs, whatever the engine."""

import numpy as np
import pytest

import probscale as ps
from probscale.runs import RunLog
from probscale.surrogate.doubted import names_of
from probscale.surrogate.known_points import run_codes
from probscale.surrogate.options import FitOptions
from probscale.surrogate.report import report_from

SPOILT = ["run-00003", "run-00017"]


@pytest.fixture(scope="module", params=["finals", "curves", "functional"])
def report(request):
    """Of a log two of whose runs end where nothing lets expect it."""
    frame = ps.simulate_runs("law", n_runs=24, points=4, seed=2).to_frame()
    last = frame.groupby("run").cumcount() == 3
    frame.loc[last & (frame["run"] == SPOILT[0]), "loss"] *= 1.25
    frame.loc[last & (frame["run"] == SPOILT[1]), "loss"] *= 0.8
    if request.param == "functional":
        frame.loc[frame["run"].isin(SPOILT), "loss"] *= 1.8
    frame = frame[last] if request.param == "finals" else frame
    roles = ps.simulate_runs("law", n_runs=24, points=4, seed=2).roles.arguments()
    log = RunLog.from_frame(frame.drop(columns="diverged"), **roles)
    model = "functional" if request.param == "functional" else "exact"
    return ps.fit_surrogate(log, embedder=None, model=model, options=FitOptions(iterations=20)).report


def test_runs_of_outliers_are_named(report):
    (expert,) = report.experts
    assert set(SPOILT) <= set(expert.doubted)
    assert len(expert.doubted) <= expert.outliers
    noun = "run" if expert.engine.startswith("functional") else "point"
    assert f"\n  {noun}s taken for outliers: {expert.outliers} ({', '.join(expert.doubted[:5])}" in str(
        report
    )


def test_names_outlive_a_file_and_files_of_before_have_none(report):
    told = report.to_dict()
    assert report_from(told) == report
    for expert in told["experts"]:
        del expert["doubted"]
    assert report_from(told).experts[0].doubted == ()
    assert f"s taken for outliers: {report.experts[0].outliers}\n" in f"{report_from(told)}\n"


def test_runs_with_most_such_points_come_first():
    log = ps.simulate_runs("law", n_runs=5, points=2, seed=0)
    codes = run_codes(log.runs)
    assert names_of(log, codes[[1, 4, 4, 2]]) == tuple(log.runs[[4, 1, 2]])
    assert names_of(log, np.empty(0)) == ()
