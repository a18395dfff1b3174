"""Which columns enter a model, on which scale, and which say nothing new."""

import numpy as np
import pandas as pd
import pytest

from probscale.encode.columns import numbers_repetitions
from probscale.encode.features import fit_features
from probscale.encode.fields import choose_scale, label, label_code, numeric_field, rescale
from probscale.runs import Roles
from tolerances import EXACT

RNG = np.random.default_rng(0)
RUNS = 40


def roles(*config, params=None, horizon=None, levels=()):
    named = tuple(name for name in (params, horizon) if name)
    return Roles(
        run="run", axis="tokens", outputs=("loss",), params=params, horizon=horizon, levels=levels,
        config=tuple(c for c in config if c not in (*levels, *named)),
    )  # fmt: skip


def fitted(frame, ends=None, **named):
    configs = pd.DataFrame(frame)
    ends = np.geomspace(1e8, 1e9, len(configs))[::-1] if ends is None else ends
    return fit_features(configs, roles(*configs, **named), ends)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-4, 3e-4, 1e-2], "log"),
        ([1.0, 1.5, 2.0], "linear"),
        ([0.0, 1e-3, 1e-1], "log1p"),
        ([0.0, 1.0, 2.0], "linear"),
        ([0.9, 0.95, 0.999], "complement"),
        ([0.1, 0.5, 0.95], "log"),
        ([-1.0, 0.0, 100.0], "linear"),
        ([1e-4, np.nan, 1e-2], "log"),
    ],
)
def test_the_scale_follows_from_the_values(values, scale):
    assert choose_scale(np.array(values))[0] == scale


def test_scales_are_their_formulas():
    x = np.array([0.5, 0.9, 0.99])
    np.testing.assert_allclose(rescale(x, "log", 1.0), np.log(x), rtol=EXACT)
    np.testing.assert_allclose(rescale(x, "log1p", 0.1), np.log(1 + x / 0.1), rtol=EXACT)
    np.testing.assert_allclose(rescale(x, "complement", 1.0), -np.log(1 - x), rtol=EXACT)
    outside = np.array([0.0, -1.0])
    assert np.isnan(rescale(outside, "log", 1.0)).all()
    assert np.isnan(rescale(np.array([1.0, 2.0]), "complement", 1.0)).all()
    assert np.isnan(rescale(np.array([-1.0]), "log1p", 1.0)).all()


def test_training_coordinates_are_standardised():
    field = numeric_field("lr", np.geomspace(1e-4, 1e-1, 9))
    z = field.apply(np.geomspace(1e-4, 1e-1, 9))
    assert z.shape == (9, 1)
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=EXACT)


def test_marks_of_values_that_were_not_given_are_told_from_values():
    given = np.geomspace(1e-4, 1e-1, RUNS)
    some = np.where(np.arange(RUNS) % 3, RNG.uniform(0, 1, RUNS), np.nan)
    features = fitted({"decay": some, "lr": given[RNG.permutation(RUNS)], "batch": some[::-1] ** 2})
    assert features.names == ("decay", "decay missing", "lr", "batch", "batch missing")
    assert features.untold == (1, 4)


def test_far_queries_and_values_outside_the_domain_stay_finite():
    field = numeric_field("lr", np.array([1e-3, 1e-2]))
    z = field.apply(np.array([1e300, 1e-300, 0.0, -1.0, np.nan, np.inf]))[:, 0]
    assert np.isfinite(z).all()
    assert z[0] == 50.0
    assert z[1] == -50.0
    np.testing.assert_array_equal(z[4:], 0.0)


@pytest.mark.parametrize(
    ("seen", "asked", "ends"),
    [
        ([0.05, 0.1, 0.4], [0.0, -1.0], (-1, 0)),
        ([0.0, 1e-3, 1e-1], [-1.0], (-1, 0)),
        ([0.9, 0.95, 0.999], [1.0, 2.0], (1, -1)),
    ],
)
def test_values_that_the_scale_does_not_hold_lie_beyond_its_end_not_amid_the_seen_ones(seen, asked, ends):
    field = numeric_field("dropout", np.array(seen))
    side, last = ends
    z = field.apply(np.array(asked))[:, 0]
    np.testing.assert_allclose(z, field.apply(np.array(seen))[last, 0] + side, rtol=EXACT)


@pytest.mark.parametrize("name", ["seed", "data_seed", "config.seed", "Seed", "trial_index", "repeat"])
def test_a_repetition_numbered_zero_is_no_smaller_than_others(name):
    frame = {name: RNG.integers(19, 977, RUNS), "lr": 10 ** RNG.uniform(-4, -1, RUNS)}
    number, rate = fitted(frame).numeric
    assert (number.repeats, rate.repeats) == (True, False)
    assert (number.scale, rate.scale) == ("log", "log")
    assert number.apply(np.array([0.0]))[0, 0] == 0.0
    assert rate.apply(np.array([0.0]))[0, 0] < rate.apply(frame["lr"]).min()


@pytest.mark.parametrize("name", ["n_seeds", "num_trials", "seed_lr", "repeated", "index", "id"])
def test_counts_and_other_numbers_are_no_repetitions(name):
    assert not numbers_repetitions(name)


def test_outside_says_which_values_were_never_seen():
    field = numeric_field("lr", np.array([1e-3, 1e-2]))
    np.testing.assert_array_equal(field.outside([5e-3, 5e-2, 1e-4]), [False, True, True])


@pytest.mark.parametrize("values", [np.full(5, 3e-4), np.full(5, np.nan), np.zeros(5)])
def test_columns_that_say_nothing_are_no_field(values):
    assert numeric_field("lr", values) is None


def test_tiny_differences_survive_and_rounding_does_not():
    assert numeric_field("x", 1e6 + np.array([0.0, 1e-3])) is not None
    assert numeric_field("x", 0.3 * (1 + np.array([0.0, 2e-16]))) is None
    z = numeric_field("x", 1e10 + np.arange(4.0)).apply(1e10 + np.arange(4.0))[:, 0]
    np.testing.assert_allclose(z, (np.arange(4) - 1.5) / np.sqrt(1.25), rtol=1e-5)


def test_constant_columns_are_dropped_with_their_reason():
    features = fitted({"lr": RNG.uniform(size=RUNS), "beta": np.full(RUNS, 0.9), "opt": ["adamw"] * RUNS})
    assert features.names == ("lr",)
    assert features.dropped == {"beta": "the same in every run", "opt": "the same in every run"}


def test_what_follows_from_the_size_is_dropped():
    size = np.repeat([1e6, 1e7, 1e8, 1e9], 10)
    layers = np.repeat([3.0, 5.0, 12.0, 24.0], 10)
    features = fitted({"N": size, "layers": layers, "lr": RNG.uniform(1e-4, 1e-2, RUNS)}, params="N")
    assert features.names == ("N", "lr")
    assert features.dropped == {"layers": "a function of N"}


def test_a_shape_that_the_size_does_not_order_stays():
    size = np.repeat([1e6, 2e6, 4e6, 8e6, 16e6], 8)
    shape = {"depth": np.repeat([2, 8, 3, 12, 4], 8), "width": np.repeat([64, 96, 128, 192, 256], 8)}
    features = fitted({"N": size, **shape, "lr": RNG.uniform(1e-4, 1e-2, RUNS)}, params="N")
    assert set(features.names) == {"N", "depth", "lr"}
    assert features.dropped == {"width": "a function of N"}


def test_what_other_columns_determine_is_dropped():
    batch, steps = RNG.choice([32, 64, 128, 256], RUNS), RNG.choice([1e3, 1e4, 1e5], RUNS)
    features = fitted({"batch": batch, "steps": steps, "seen": batch * steps, "lr": RNG.uniform(size=RUNS)})
    assert set(features.names) == {"batch", "steps", "lr"}
    assert features.dropped["seen"].startswith("determined by other columns (tokens, batch, steps")


def test_what_the_axis_determines_is_dropped():
    ends = np.geomspace(1e8, 1e10, RUNS)
    features = fitted({"steps": ends / 512, "lr": RNG.uniform(size=RUNS)}, ends)
    assert features.names == ("lr",)
    assert "tokens" in features.dropped["steps"]


def test_levels_stay_even_where_the_size_determines_them():
    size = np.repeat([1e6, 1e7, 1e8, 1e9], 10)
    features = fitted({"N": size, "layers": np.repeat([3, 12, 5, 24], 10)}, params="N", levels=("layers",))
    assert set(features.names) == {"N", "layers"}
    (item,) = features.categorical
    assert (item.name, item.level, item.values) == ("layers", True, ("3", "12", "5", "24"))


def test_missing_values_are_marked():
    lr = np.where(np.arange(RUNS) % 3 == 0, np.nan, np.geomspace(1e-4, 1e-2, RUNS))
    features = fitted({"lr": lr, "wd": RNG.uniform(size=RUNS)})
    assert features.names == ("lr", "lr missing", "wd")
    found = features.coordinates(pd.DataFrame({"lr": [1e-3, np.nan], "wd": [0.5, 0.5]}))
    np.testing.assert_array_equal(found[:, 1], [0.0, 2.0])
    assert found[1, 0] == 0.0


def test_missing_values_that_a_label_explains_are_not_marked():
    opt = np.where(np.arange(RUNS) % 3 == 0, "sgd", "adamw")
    lr = np.where(opt == "sgd", np.nan, RNG.uniform(1e-4, 1e-2, RUNS))
    assert fitted({"beta": lr, "opt": opt}).names == ("beta",)


def test_columns_that_are_hardly_ever_given_are_dropped():
    rare = np.full(100, np.nan)
    rare[0] = 1.0
    features = fitted({"rare": rare, "lr": RNG.uniform(size=100)})
    assert features.dropped["rare"] == "missing in 99 % of the runs"


def test_columns_not_asked_for_count_as_missing():
    features = fitted({"lr": RNG.uniform(1e-4, 1e-1, RUNS), "opt": ["adamw", "muon"] * 20})
    asked = pd.DataFrame(index=[0, 1])
    np.testing.assert_array_equal(features.coordinates(asked), np.zeros((2, 1)))
    assert features.labels(asked) == [["missing", "missing"]]
    assert fitted({"opt": ["adamw", "muon"] * 20}).coordinates(asked).shape == (2, 0)


def test_labels_and_free_text_are_told_apart():
    notes = [f"run number {i} with its own story" for i in range(RUNS)]
    features = fitted({"opt": ["adamw", "muon"] * 20, "notes": notes, "tied": [True, False] * 20})
    assert [item.name for item in features.categorical] == ["opt", "tied"]
    assert features.free_text == ("notes",)
    assert features.columns == ("opt", "tied", "notes")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((8, 8.0, np.int64(8), np.float32(8)), "8"),
        ((0.5, np.float64(0.5)), "0.5"),
        ((True, np.bool_(True)), "True"),
        ((None, np.nan, pd.NA, float("nan")), "missing"),
        (("adamw",), "adamw"),
    ],
)
def test_equal_values_have_one_label(values, text):
    assert {label(v) for v in values} == {text}


def test_label_codes_are_distinct_exact_and_lasting():
    codes = [label_code(f"value {i}") for i in range(2_000)]
    assert len(set(codes)) == 2_000
    assert all(code == int(code) and 0 <= code < 2**53 for code in codes)
    assert label_code("adamw") == 200180644824537.0


def test_width_and_depth_stand_for_the_size_of_curves():
    width, depth = (part.ravel() for part in np.meshgrid([256.0, 512.0, 1024.0], [4.0, 8.0, 16.0]))
    configs = pd.DataFrame({"width": width, "depth": depth, "N": 12 * depth * width**2 + 5e4 * width})
    roles = Roles(run="run", axis="tokens", outputs=("loss",), params="N", config=("width", "depth"))
    ends = np.full(9, 1e9)
    assert fit_features(configs, roles, ends, curves=True).names == ("width", "depth")
    assert "N" in fit_features(configs, roles, ends).names


def test_a_size_that_settings_happen_to_follow_stays():
    generator = np.random.default_rng(0)
    size = np.repeat([1e7, 1e8, 1e9], 4)
    configs = pd.DataFrame(
        {"lr": 1e-2 * (size / 1e7) ** -0.3 * generator.lognormal(0, 0.05, 12), "N": size}
    ).assign(decay=generator.uniform(0.05, 0.2, 12))
    roles = Roles(run="run", axis="tokens", outputs=("loss",), params="N", config=("lr", "decay"))
    assert "N" in fit_features(configs, roles, np.full(12, 1e9), curves=True).names


def test_levels_that_share_their_values_bring_a_label_for_both_orders():
    one, other = zip(*[(a, b) for a in "abcd" for b in "abcd" if a != b], strict=True)
    pairs = pd.DataFrame({"src": one, "tgt": other})
    *_, both = fitted(pairs, levels=("src", "tgt")).categorical
    assert both.of == ("src", "tgt")
    assert len(both.values) == 6
    features = fitted(pairs, levels=("src", "tgt"))
    asked = pd.DataFrame({"src": ["a", "b", "a"], "tgt": ["b", "a", "c"]})
    codes = features.labels(asked)[-1]
    assert codes[0] == codes[1] != codes[2]
    assert set(features.columns) == {"src", "tgt"}
    apart = fitted(pairs.assign(tgt="to " + pairs.tgt), levels=("src", "tgt"))
    assert [item.of for item in apart.categorical] == [(), ()]


def test_levels_share_their_values_from_three_on_and_numbers_never_do():
    one, other = zip(*[(a, b) for a in "abcd" for b in "bcde" if a != b], strict=True)
    pairs = pd.DataFrame({"src": one, "tgt": other})
    assert fitted(pairs, levels=("src", "tgt")).sharing == (("src", "tgt"),)
    two = pairs[pairs.src.isin(["a", "b", "c"])]
    assert fitted(two.reset_index(drop=True), levels=("src", "tgt")).sharing == ()
    shapes = pd.DataFrame({"width": [2, 2, 4, 4, 8, 8], "depth": [2, 4, 4, 8, 8, 2]})
    assert fitted(shapes, levels=("width", "depth")).sharing == ()
