"""best: what it prints and writes is what the library says, of a pool and between ranges."""

import pandas as pd
import pytest

import probscale as ps
from probscale.cli.tables import number

RANGE = ("--set", "params=8e6", "--set", "lr=1e-3:6e-3")


def test_best_of_a_pool_is_what_the_library_finds(home, invoke, tmp_path):
    out, pool = tmp_path / "best.csv", pd.read_csv(home / "pool.csv")[["params", "lr"]]
    pool.to_csv(tmp_path / "pool.csv", index=False)
    given = ["--pool", tmp_path / "pool.csv", "--at", "4e9", "-o", out]
    result = invoke("best", home / "s.safetensors", *given)
    assert result.exit_code == 0, result.output
    found = ps.load_surrogate(home / "s.safetensors").best(pool, at=4e9)
    pd.testing.assert_frame_equal(
        pd.read_csv(out), found.table.reset_index(drop=True), rtol=1e-9, check_dtype=False
    )
    assert f"best: params {number(found.config['params'])}, lr {number(found.config['lr'])}" in result.output
    low, high = found.interval
    assert f"loss {number(found.mean)}, 90 % interval {number(low)} to {number(high)}" in result.output
    assert f"the best of 4 with probability {found.prob_best:.2f}" in result.output


def test_best_searches_ranges_in_place_of_a_pool(home, invoke, tmp_path):
    out = tmp_path / "best.parquet"
    result = invoke("best", home / "s.safetensors", *RANGE, "--at", "4e9", "-o", out)
    assert result.exit_code == 0, result.output
    found = ps.load_surrogate(home / "s.safetensors").best({"params": 8e6, "lr": (1e-3, 6e-3)}, at=4e9)
    assert pd.read_parquet(out)["lr"].iloc[0] == pytest.approx(found.config["lr"])
    assert f"(and {len(found.table) - 10} more)" in result.output


def test_best_fits_a_log_and_takes_choices_and_the_axis_value_of_a_setting(home, invoke, roles, tmp_path):
    settings = ["--set", "params=8e6", "--set", "lr=1e-3,6e-3", "--set", "end=4e9", "--at", "end"]
    given = ["--config", "lr", "--embedder", "none", *settings, "-o", tmp_path / "b.csv"]
    result = invoke("best", home / "runs.csv", *roles, *given)
    assert result.exit_code == 0, result.output
    assert sorted(pd.read_csv(tmp_path / "b.csv")["lr"]) == [1e-3, 6e-3]
    # One note, although the search asks for many forecasts.
    assert result.stderr.count("never seen in the fit") == 1


def test_best_says_how_far_the_answer_lies_beyond_the_log(home, invoke, tmp_path):
    asked = ("best", home / "s.safetensors", *RANGE, "-o", tmp_path / "b.csv", "--at")
    largest = ps.load_surrogate(home / "s.safetensors").log.points["tokens"].max()
    far = invoke(*asked, f"{3 * largest:.17g}")
    assert far.exit_code == 0, far.output
    assert "beyond the log: " in far.output
    assert "tokens up to 3 times the largest of the log" in far.output
    assert "beyond the log" not in invoke(*asked, f"{largest:.17g}").output


def test_one_setting_each_is_one_configuration(home, invoke, tmp_path):
    given = ["--set", "params=8e6", "--set", "lr=2e-3", "--at", "4e9", "-o", tmp_path / "b.csv"]
    result = invoke("best", home / "s.safetensors", *given)
    assert result.exit_code == 0, result.output
    assert "with probability" not in result.output
    assert len(pd.read_csv(tmp_path / "b.csv")) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ("--pool FILE", "--set NAME=VALUE", "neither")),
        (["--pool", "pool.csv", *RANGE], ("both",)),
        (["--set", "lr"], ("'lr'", "NAME=LOW:HIGH")),
        (["--set", "lr=slow:fast"], ("lr is a number in the log", "1e-4:1e-2")),
        (["--set", "lr=1e-2:1e-4"], ("lower end first",)),
        ([*RANGE, "--set", "lr=1e-2"], ("twice",)),
        (["--set", "rate=1e-4:1e-2"], ("no run of the log has 'rate'", "params, lr")),
    ],
)
def test_candidates_that_are_none_are_refused(home, invoke, refused, tmp_path, given, words):
    refused(invoke("best", home / "s.safetensors", *given, "--at", "4e9", "-o", tmp_path / "b.csv"), *words)


def test_axis_values_that_are_none_are_refused(home, invoke, refused, tmp_path):
    asked = ("best", home / "s.safetensors", "--set", "lr=1e-3:6e-3", "-o", tmp_path / "b.csv")
    refused(invoke(*asked, "--at", "lr"), "--at 'lr' is not understood")
    refused(invoke(*asked, "--at", "1e9,2e9"), "2 values", "one axis value")
