"""Sources with few model sizes learn from those with many."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps

SIZES = {"many": np.geomspace(1e7, 4e8, 6), "one": [3e7]}
ASKED = 3e8


def finals(seed=0):
    """Two sources that follow laws alike in size, at different levels of loss; one has a single size."""
    rng = np.random.default_rng(seed)
    rows = [
        {"source": name, "N": n, "tokens": t, "loss": loss(name, n, t) * (1 + 0.001 * rng.standard_normal())}
        for name, sizes in SIZES.items()
        for n in sizes
        for t in np.geomspace(1e9, 4e10, 170 // len(sizes))
    ]
    return pd.DataFrame(rows).assign(run=lambda f: [f"r{i}" for i in range(len(f))])


def loss(source, params, tokens):
    scale = 1.25 if source == "one" else 1.0
    return scale * (1.6 + 120 * params**-0.28 + 400 * tokens**-0.3)


@pytest.fixture(scope="module")
def fitted():
    log = ps.RunLog.from_frame(
        finals(), run="run", axis="tokens", output="loss", params="N", levels=("source",)
    )
    return ps.fit_surrogate(log, embedder=None)


def test_a_source_of_one_size_is_extrapolated_as_another_source_teaches(fitted):
    curves = fitted.predict([{"source": "one", "N": ASKED}], [3e10])
    truth, before = loss("one", ASKED, 3e10), loss("one", 3e7, 3e10)
    lower, upper = curves.interval(0.9)
    assert lower[0, 0] <= truth <= upper[0, 0]
    assert abs(curves.median[0, 0] - truth) < 0.3 * (before - truth)
    assert upper[0, 0] - lower[0, 0] < before - truth


def test_the_report_says_who_taught_whom(fitted):
    donors = {expert.name: expert.donors for expert in fitted.report.experts}
    assert donors == {"many": (), "one": ("many",), "all runs": ()}
    assert "size term expected as in many" in str(fitted.report)


def test_what_was_taught_is_kept_in_files(fitted, tmp_path):
    fitted.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    asked = [{"source": "one", "N": ASKED}], [3e9, 3e10]
    np.testing.assert_allclose(again.predict(*asked).std, fitted.predict(*asked).std, rtol=1e-8)
    assert again.report.experts == fitted.report.experts
