"""From configurations and axis values to the rows of the model."""

import numpy as np
import pandas as pd
import pytest

from probscale.encode.embedders import HashedNgramEmbedder
from probscale.encode.encoder import fit_encoder
from probscale.encode.fields import label_code
from probscale.runs import RunLog
from tolerances import EXACT

EMBEDDER = HashedNgramEmbedder()
NOTES = "a schedule that warms up and decays in its own way, variant number {}"


def log_of(points=4, horizon=True, start=0.25, tokens=4e8):
    """Twelve runs of two sizes and three optimisers."""
    rows = []
    for number in range(12):
        end = tokens * (1 + number % 2)
        config = {
            "run": f"r{number}", "N": [1e7, 1e8][number // 6], "lr": 1e-3 * 1.7 ** ((5 * number) % 12),
            "opt": ["adamw", "muon", "lion"][number % 3], "notes": NOTES.format(number),
        }  # fmt: skip
        if horizon:
            config["horizon"] = end
        rows += [
            config | {"tokens": end * share, "loss": 3 - share}
            for share in (np.linspace(start, 1, points) if points > 1 else [1.0])
        ]
    named = {"params": "N"} | ({"horizon": "horizon"} if horizon else {})
    return RunLog.from_frame(pd.DataFrame(rows), run="run", axis="tokens", output="loss", **named)


def encoded(encoder, configs, at, runs=None):
    """One row per configuration."""
    count = len(configs)
    runs = np.arange(float(count)) if runs is None else runs
    return encoder.encode(configs, runs, np.arange(count), np.broadcast_to(np.asarray(at, float), count))


@pytest.fixture(scope="module")
def log():
    return log_of()


@pytest.fixture(scope="module")
def encoder(log):
    return fit_encoder(log, EMBEDDER)


def test_every_column_has_its_place(encoder, log):
    rows = encoded(encoder, log.configs, 1e8)
    names = encoder.continuous
    assert names[-2:] == ("tokens", "share of horizon")
    assert {"N", "lr"} <= set(names)
    assert [names[i] for i in encoder.progress] == ["tokens", "share of horizon"]
    assert {names[i] for i in encoder.sizes} == {"N", "horizon", "tokens"} & set(names)
    assert encoder.run_column == rows.x.shape[1] - 1
    np.testing.assert_array_equal(rows.x[:, encoder.run_column], np.arange(12.0))
    (item,) = encoder.labels
    assert item.name == "opt"
    assert item.code == len(names)
    assert item.text == tuple(range(item.code + 1, encoder.run_column))


def test_size_and_progress_are_logarithms_in_user_units(encoder, log):
    rows = encoded(encoder, log.configs, 2e8)
    np.testing.assert_allclose(rows.size, np.log(log.configs["N"].to_numpy(float)), rtol=EXACT)
    np.testing.assert_allclose(rows.progress, np.log(2e8), rtol=EXACT)


def test_the_axis_is_standardised_over_the_points(encoder, log):
    at = log.points["tokens"].to_numpy(float)
    x = encoder.encode(log.configs, np.arange(12.0), log.codes, at).x[:, encoder.progress[0]]
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-9)


def test_an_axis_that_starts_at_zero_stays_finite():
    log = log_of(start=0.0)
    encoder = fit_encoder(log, None)
    assert encoder.axis.offset > 0
    assert np.isfinite(encoded(encoder, log.configs, 0.0).x).all()


def test_the_share_of_the_horizon_rises_to_its_end(encoder, log):
    config = log.configs.iloc[[0] * 5]
    end = float(log.configs["horizon"].iloc[0])
    column = encoder.progress[1]
    x = encoded(encoder, config, end * np.array([0.0, 0.5, 0.9, 1.0, 2.0])).x[:, column]
    assert x[0] == 0.0
    assert (np.diff(x[:4]) > 0).all()
    # The last tenth counts for more than its share: decaying schedules bend the curve there.
    assert x[3] - x[2] > (x[2] - x[1]) / 4
    assert x[3] == x[4] == 3.0


def test_without_a_horizon_there_is_no_share_and_the_axis_is_no_size():
    encoder = fit_encoder(log_of(horizon=False), None)
    assert not encoder.axis.fraction
    assert [encoder.continuous[i] for i in encoder.progress] == ["tokens"]
    assert [encoder.continuous[i] for i in encoder.sizes] == ["N"]


def test_a_horizon_that_is_not_given_is_the_asked_end(encoder, log):
    configs = log.configs.drop(columns="horizon")
    for at in (1e8, 0.0):
        x = encoded(encoder, configs, at).x
        np.testing.assert_array_equal(x[:, encoder.progress[1]], 3.0)
        assert np.isfinite(x).all()


def test_with_one_point_per_run_the_axis_is_one_more_size():
    log = log_of(points=1, horizon=False)
    encoder = fit_encoder(log, None)
    assert encoder.progress == ()
    assert encoder.run_column is None
    assert {encoder.continuous[i] for i in encoder.sizes} == {"N", "tokens"}
    assert encoded(encoder, log.configs, 1e8).x.shape[1] == len(encoder.continuous) + 1


def test_an_unseen_label_has_a_code_of_its_own_and_its_own_text(encoder, log):
    configs = log.configs.iloc[[0, 0]].assign(opt=["adamw", "adamw 8bit"])
    x = encoded(encoder, configs, 1e8).x
    (item,) = encoder.labels
    np.testing.assert_array_equal(x[:, item.code], [label_code("adamw"), label_code("adamw 8bit")])
    assert not np.array_equal(x[0, list(item.text)], x[1, list(item.text)])
    assert np.isfinite(x).all()


def test_without_an_embedder_labels_are_codes_and_free_text_is_left_out(log):
    encoder = fit_encoder(log, None)
    (item,) = encoder.labels
    assert item.text == ()
    assert encoder.projections == {}
    assert not any("notes" in name for name in encoder.continuous)
    assert encoder.embedder is None


def test_free_text_enters_through_its_projection(encoder, log):
    names = [name for name in encoder.continuous if name.startswith("notes text")]
    assert 1 <= len(names) <= 6
    configs = log.configs.iloc[[0, 0, 0]].assign(notes=[NOTES.format(0), "quite another story", None])
    columns = [encoder.continuous.index(name) for name in names]
    x = encoded(encoder, configs, 1e8).x[:, columns]
    assert np.isfinite(x).all()
    assert not np.array_equal(x[0], x[1])
    np.testing.assert_allclose(x[0], encoded(encoder, log.configs, 1e8).x[0, columns], rtol=EXACT)


def test_missing_columns_and_an_unknown_size_are_accepted(encoder):
    rows = encoded(encoder, pd.DataFrame({"lr": [1e-3, 2e-3]}), 1e8)
    assert np.isfinite(rows.x).all()
    assert np.isnan(rows.size).all()


def test_rows_do_not_depend_on_their_company(encoder, log):
    whole = encoded(encoder, log.configs, 1e8)
    for row in (0, 5, 11):
        alone = encoded(encoder, log.configs.iloc[[row]], 1e8, np.array([float(row)]))
        np.testing.assert_allclose(alone.x[0], whole.x[row], rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("column", ["N", "lr"])
def test_whole_numbers_and_floats_give_the_same_rows(encoder, log, column):
    configs = log.configs.assign(**{column: [1, 2, 3, 4] * 3})
    floats = configs.assign(**{column: configs[column].astype(np.float64)})
    objects = configs.assign(**{column: configs[column].astype(object)})
    expected = encoded(encoder, configs, 1e8).x
    for other in (floats, objects):
        np.testing.assert_array_equal(encoded(encoder, other, 1e8).x, expected)


def test_placing_encoded_configurations_is_encoding_them(encoder, log):
    codes, at = log.codes, log.points["tokens"].to_numpy(float)
    runs = np.arange(12.0)
    once = encoder.place(encoder.encode_configs(log.configs), log.configs, runs, codes, at)
    np.testing.assert_array_equal(once.x, encoder.encode(log.configs, runs, codes, at).x)


def described_log():
    """Twelve runs of four recipes, each recipe told in a sentence."""
    told = [
        "a long and careful warmup before the {} stage starts",
        "no warmup at all, straight to the {} stage",
    ]
    rows = [
        {"run": f"r{i}", "recipe": f"recipe {i % 4}", "about": told[i % 2].format(i % 4), "tokens": 1e9}
        for i in range(12)
    ]
    frame = pd.DataFrame(rows).assign(lr=np.geomspace(1e-4, 1e-2, 12), loss=np.linspace(3, 2, 12))
    return RunLog.from_frame(frame, run="run", axis="tokens", output="loss", levels=("recipe",))


def test_prose_that_goes_with_a_level_describes_its_values():
    log = described_log()
    encoder = fit_encoder(log, EMBEDDER)
    assert dict(encoder.features.descriptions) == {"recipe": "about"}
    assert [item.name for item in encoder.labels] == ["recipe"]
    assert encoder.features.free_text == ()
    assert "about" in encoder.features.columns
    (item,) = encoder.labels
    configs = log.configs.iloc[[0, 0, 0]].reset_index(drop=True).assign(recipe="recipe 9")
    configs["about"] = [log.configs.about.iloc[0], log.configs.about.iloc[1], None]
    rows = [encoded(encoder, configs.iloc[[i]], 1e9).x[0, list(item.text)] for i in range(3)]
    assert not np.allclose(rows[0], rows[1])
    assert np.isfinite(rows[2]).all()


def test_the_description_of_a_known_value_need_not_be_told_again():
    log = described_log()
    encoder = fit_encoder(log, EMBEDDER)
    (item,) = encoder.labels
    x = encoded(encoder, log.configs, 1e9).x[:, list(item.text)]
    for row in range(4):
        np.testing.assert_allclose(x[row], x[row + 4], rtol=EXACT)
