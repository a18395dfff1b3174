"""Two levels that share their values: what holds from German to English mostly holds back."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.latent import latent_orders

LANGUAGES = "abcdef"


def scores(seed=0):
    """Curves of all ordered pairs; effects of source, target and, larger, of how close the two are."""
    generator = np.random.default_rng(seed)
    source, target = generator.normal(0, 0.2, (2, 6))
    close = generator.normal(0, 0.5, (6, 6))
    rows = []
    for i, j in ((i, j) for i in range(6) for j in range(6) if i != j):
        size = np.geomspace(1e3, 1e6, 5)
        effect = source[i] + target[j] + close[min(i, j), max(i, j)] + 0.3 * np.log10(size / 1e3)
        rows.append(pd.DataFrame({"src": LANGUAGES[i], "tgt": LANGUAGES[j], "pairs": size}))
        rows[-1]["bleu"] = 8 * np.exp(effect + 0.02 * generator.standard_normal(5))
        rows[-1]["run"] = f"{i}-{j}"
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def asked_back():
    """Runs of one direction left out of six pairs, and the surrogate of the rest."""
    frame = scores()
    out = frame.run.isin(["0-1", "2-3", "4-5", "2-0", "5-1", "3-4"])
    roles = {"run": "run", "axis": "pairs", "output": "bleu", "goal": "max", "levels": ("src", "tgt")}
    log = ps.RunLog.from_frame(frame[~out], **roles)
    return ps.fit_surrogate(log, embedder=None), frame[out]


def test_a_direction_never_seen_is_foretold_from_the_other(asked_back):
    surrogate, test = asked_back
    ends = test.groupby("run").tail(1)
    found = surrogate.predict(ends[["src", "tgt"]], ends.pairs.to_numpy()[:, None])
    error = np.abs(found.mean[:, 0] - ends.bleu.to_numpy()) / ends.bleu.to_numpy()
    assert np.median(error) < 0.1
    assert "src and tgt in either order" in surrogate.report.experts[0].labels


def test_it_survives_a_file(asked_back, tmp_path):
    surrogate, test = asked_back
    surrogate.save(tmp_path / "pairs.safetensors")
    again = ps.load_surrogate(tmp_path / "pairs.safetensors")
    asked = test[["src", "tgt"]].drop_duplicates()
    at = [1e4, 1e6]
    np.testing.assert_allclose(again.predict(asked, at).mean, surrogate.predict(asked, at).mean, rtol=1e-10)


def test_latent_tasks_are_told_apart_by_the_levels_alone(asked_back):
    orders = dict(latent_orders(asked_back[0].experts["all runs"].encoder))
    assert list(orders) == [("src", "tgt"), ("tgt", "src")]


def test_a_language_known_as_a_source_is_foretold_as_a_target():
    generator = np.random.default_rng(0)
    brings = np.append(generator.normal(0, 0.6, 6), -1.0)
    one, other = np.nonzero(~np.eye(7, dtype=bool))
    names = np.array(list("abcdefg"))
    frame = pd.DataFrame({"run": np.arange(42), "src": names[one], "tgt": names[other], "pairs": 1e5})
    frame["bleu"] = 8 * np.exp(brings[one] + brings[other] + 0.1 * generator.standard_normal(42))
    known, test = frame[frame.tgt != "g"], frame[frame.tgt == "g"]
    roles = {"run": "run", "axis": "pairs", "output": "bleu", "goal": "max", "levels": ("src", "tgt")}
    surrogate = ps.fit_surrogate(ps.RunLog.from_frame(known, **roles), embedder=None, transform="score")
    found = surrogate.predict(test[["src", "tgt"]], [1e5]).quantile(0.5)[:, 0]
    assert np.abs(np.log(found / test.bleu)).mean() < 0.4
