"""frontier, suggest and plan: what they print and write is what the library says."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.cli.costs import CostOptions
from probscale.cli.frontier import cost_levels
from probscale.cli.tables import columns, number, shown
from probscale.cost import MoneyCost, RateCost, SecondsCost, ThroughputCost

COST = ps.FlopsCost(params="params")


def test_frontier_of_a_log_writes_what_the_library_finds(home, invoke, roles, tmp_path):
    out, facts = tmp_path / "f.csv", tmp_path / "f.json"
    given = ["--config", "lr", "--embedder", "none", "--target", "3.35", "--budget", "5e16"]
    result = invoke("frontier", home / "runs.csv", *roles, *given, "-o", out, "--json", facts)
    assert result.exit_code == 0, result.output
    # The same runs, fitted by another command.
    found = ps.fit_frontier(ps.load_surrogate(home / "s.safetensors"), cost=COST, target=3.35)
    pd.testing.assert_frame_equal(pd.read_csv(out), found.to_frame(), rtol=1e-9)
    said = json.loads(facts.read_text())
    assert said["law"]["exponent"]["mean"] == pytest.approx(found.law.mean["exponent"])
    assert said["target"]["probability within the budget"] == pytest.approx(found.prob_reach(budget=5e16))
    assert np.isfinite(found.smallest_budget())
    assert said["target"]["smallest budget"] == pytest.approx(found.smallest_budget())
    assert said["law"]["exponent"]["median"] == pytest.approx(found.law.median["exponent"])
    assert f"exponent     {number(found.law.median['exponent'])} [" in result.output
    assert "best params grows as compute^" in result.output
    assert "loss 3.35 is reached within 5e+16 FLOPs with probability" in result.output


def test_a_rate_of_one_counts_the_axis_by_its_name():
    assert CostOptions(rate="1").model(axis="epoch").unit == "epoch"
    assert CostOptions(rate="1", unit="passes").model(axis="epoch").unit == "passes"
    assert CostOptions(rate="2").model(axis="epoch").unit == "cost"
    assert CostOptions(rate="price").model(axis="epoch").unit == "cost"


def test_frontier_of_a_pool_from_a_saved_surrogate(home, invoke, tmp_path):
    out = tmp_path / "f.parquet"
    given = ["--pool", home / "pool.csv", "--compute", "1e16:4e17:8", "--target", "0.5", "--samples", "64"]
    result = invoke("frontier", home / "s.safetensors", *given, "-o", out)
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(out)
    np.testing.assert_allclose(table["compute"], np.geomspace(1e16, 4e17, 8))
    assert set(table["config"]) <= {0, 1, 2, 3}
    assert "no budget up to 4e+17 FLOPs makes that 90 % probable" in result.output


def test_levels_that_no_configuration_meets_are_counted_not_shown(home, invoke, tmp_path):
    out = tmp_path / "f.csv"
    given = ["--pool", home / "pool.csv", "--compute", "1e10:4e17:8", "--samples", "64", "-o", out]
    result = invoke("frontier", home / "s.safetensors", *given)
    assert result.exit_code == 0, result.output
    without = int(pd.read_csv(out)["mean"].isna().sum())
    assert without > 0
    assert f"{without} of 8 levels of compute are those at which no configuration can be had" in result.output
    assert "–" not in result.output.split("std")[1]


def test_a_budget_beyond_the_log_widens_the_frontier(home, invoke, tmp_path):
    out = tmp_path / "f.csv"
    given = ["--target", "2.4", "--budget", "1e19", "-o", out]
    result = invoke("frontier", home / "s.safetensors", *given)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out)["compute"].iloc[-1] == pytest.approx(1e19)


def test_suggest_writes_what_the_library_chooses(home, invoke, tmp_path):
    out = tmp_path / "chosen.csv"
    pool = pd.read_csv(home / "pool.csv")
    given = ["-n", "2", "--criterion", "law", "--budget", "1e18", "-o", out]
    result = invoke("suggest", home / "s.safetensors", home / "pool.csv", *given)
    assert result.exit_code == 0, result.output
    surrogate = ps.load_surrogate(home / "s.safetensors")
    chosen = ps.suggest(surrogate, pool, n=2, criterion="law", budget=1e18, cost=COST)
    pd.testing.assert_frame_equal(pd.read_csv(out), chosen.reset_index(drop=True), rtol=1e-9)
    assert chosen["cost"].sum() <= 1e18
    assert "2 of 4 configurations by 'law'" in result.output


def test_suggest_keeps_to_whole_runs_and_limits(home, invoke, tmp_path):
    out = tmp_path / "chosen.csv"
    options = ["--at", "1e9,2e9", "--depths", "full", "--max-cost", "2e17", "--rate", "per_token", "-o", out]
    result = invoke("suggest", home / "s.safetensors", home / "pool.csv", *options)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert (table["until"] == 2e9).all()
    np.testing.assert_allclose(table["cost"], table["per_token"] * 2e9)
    assert (table["cost"] <= 2e17).all()
    assert len(table) == 2


def test_suggest_for_targets(home, invoke, tmp_path):
    target = tmp_path / "target.csv"
    pd.DataFrame({"params": [6.4e7], "lr": [3e-3]}).to_csv(target, index=False)
    base = ["suggest", home / "s.safetensors", home / "pool.csv", "-q", "-o", tmp_path / "c.csv"]
    result = invoke(*base, "--criterion", "target", "--targets", target)
    assert result.exit_code == 0, result.output
    assert result.output == ""


def test_plan_writes_the_table_of_the_library(home, invoke, tmp_path):
    out = tmp_path / "plan.csv"
    given = ["--total", "1e18", "--params", "params", "--strategy", "halving", "--worlds", "20", "-o", out]
    result = invoke("plan", home / "pool.csv", *given)
    assert result.exit_code == 0, result.output
    pool = pd.read_csv(home / "pool.csv")
    plan = ps.plan_budget(pool, total=1e18, cost=COST, strategy="halving", worlds=20)
    pd.testing.assert_frame_equal(pd.read_csv(out), plan.table(), rtol=1e-9)
    assert "published power laws" in result.output
    assert f"with probability {plan.prob_best:.2f}" in result.output


def test_plan_from_what_earlier_runs_taught(home, invoke, tmp_path):
    given = ["--total", "5e17", "--params", "params", "--surrogate", home / "s.safetensors", "--worlds", "10"]
    result = invoke("plan", home / "pool.csv", *given, "-o", tmp_path / "plan.csv")
    assert result.exit_code == 0, result.output
    assert "the surrogate's posterior" in result.output
    assert "Note" not in result.stderr


def test_refusals_are_one_paragraph(home, invoke, refused, roles, tmp_path):
    log, pool, known = home / "runs.csv", home / "pool.csv", home / "s.safetensors"
    refused(invoke("frontier", log), "--run, --axis, --output", ".safetensors")
    refused(invoke("frontier", known, log), "give it alone")
    refused(invoke("frontier", known, "--compute", "soon"), "'soon'", "1e18:1e20:40")
    refused(invoke("frontier", known, "--budget", "1e17"), "--target")
    refused(invoke("frontier", known, "-o", tmp_path / "f.xlsx"), "f.xlsx")
    refused(invoke("frontier", known, "--target", "nan"), "--target is nan")
    refused(invoke("frontier", known, "--target", "2", "--budget", "-1"), "--budget is -1")
    refused(invoke("frontier", known, "--target", "2", "--probability", "90"), "--probability is 90")
    refused(invoke("frontier", known, "--json", tmp_path), str(tmp_path), "is a folder")
    refused(invoke("frontier", known, "--seconds", "seconds"), "give the log itself")
    refused(invoke("suggest", known, pool, "--criterion", "frontal"), "'frontier'")
    refused(invoke("suggest", known, pool, "--criterion", "target"), "--targets")
    refused(
        invoke("suggest", known, pool, "--max-cost", "3"), "cheapest action costs", "--max-cost or --budget"
    )
    refused(invoke("suggest", known, tmp_path / "none.csv"), "none.csv")
    refused(invoke("plan", pool, "--total", "1e18"), "--params", "--rate")
    refused(invoke("plan", pool, "--total", "-1", "--rate", "1"), "positive")
    refused(invoke("plan", pool, "--total", "1", "--rate", "1", "--strategy", "halvin"), "'halving'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": "1", "flops_per_second": "1e12"}, "two costs"),
        ({"params": "N", "device_hour": "2"}, "--seconds or --flops-per-second"),
        ({"params": "N", "devices": "8"}, "--device-hour"),
        ({"rate": "1", "axis_tokens": "512"}, "--axis-tokens"),
    ],
)
def test_costs_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(ps.errors.ConfigError, match=words):
        CostOptions(**options).model()


def test_options_make_the_cost_they_name(home):
    configs = pd.DataFrame({"N": [1e8, 2e8], "gpus": [8, 16], "batch": [1e5, 1e6]})
    flops = ps.FlopsCost("N")(configs, [1e9])
    assert isinstance(CostOptions(rate="N").model(), RateCost)
    tokens = CostOptions(params="N", axis_tokens="batch").model()(configs, [1e3])
    np.testing.assert_allclose(tokens, ps.FlopsCost("N", tokens_per_axis="batch")(configs, [1e3]))
    seconds = CostOptions(params="N", flops_per_second="1e14").model()
    assert isinstance(seconds, ThroughputCost)
    np.testing.assert_allclose(seconds(configs, [1e9]), flops / 1e14)
    money = CostOptions(
        params="N", flops_per_second="1e14", device_hour="2", devices="gpus", unit="EUR"
    ).model()
    assert isinstance(money, MoneyCost)
    assert money.unit == "EUR"
    np.testing.assert_allclose(money(configs, [1e9]), flops / 1e14 / 3600 * 2 * configs[["gpus"]].to_numpy())
    logged = CostOptions(params="params", seconds="seconds").model(
        [str(home / "runs.csv")], run="run", axis="tokens"
    )
    assert isinstance(logged, SecondsCost)
    np.testing.assert_allclose(logged(pd.DataFrame({"run": ["r0"]}), [1e9]), [[1e-12 * 1e6 * 1e9]])


def test_levels_and_tables_read_as_people_write_them():
    np.testing.assert_allclose(cost_levels("1e3:1e5:3"), [1e3, 1e4, 1e5])
    np.testing.assert_allclose(cost_levels("1, 2,4"), [1, 2, 4])
    table = pd.DataFrame({"name": ["a", "b"], "cost": [1234567.0, np.nan], "n": [3, 4]})
    assert shown(table).splitlines() == ["name       cost  n", "   a  1.235e+06  3", "   b          –  4"]
    long = pd.DataFrame({"n": np.arange(100)})
    text = shown(long, rows=5).splitlines()
    assert text[1].strip() == "0"
    assert text[5].strip() == "99"
    assert text[6] == "(5 of 100 rows; all are in the file)"


def test_every_parameter_of_the_law_says_what_it_is(home, invoke, tmp_path):
    done = invoke("frontier", home / "s.safetensors", "-o", tmp_path / "f.csv")
    assert "of a straight line through it in ln(compute)" in done.stdout
    assert "of that line at one unit of compute" in done.stdout


def test_a_surrogate_is_known_by_its_content_where_its_name_does_not_tell(home, invoke, tmp_path):
    shutil.copy(home / "s.safetensors", tmp_path / "surrogate.bin")
    known, pool = tmp_path / "surrogate.bin", home / "pool.csv"
    done = invoke("suggest", known, pool, "-n", "1", "-o", tmp_path / "next.csv", "-q")
    assert done.exit_code == 0, done.output


def test_a_cost_that_would_count_in_favour_of_a_run_is_refused(home, invoke):
    done = invoke("suggest", home / "s.safetensors", home / "pool.csv", "--cost-power", "-1")
    assert done.exit_code == 2
    assert "--cost-power" in done.stderr


def test_a_table_wider_than_the_window_begins_anew_below_with_its_first_column():
    cells = [["rung", "tokens", "FLOPs"], ["a", "1", "22"], ["b", "10", "2"]]
    whole = columns(cells)
    assert whole.splitlines()[0] == "rung  tokens  FLOPs"
    assert columns(cells, 19) == whole
    narrow = columns(cells, 18)
    assert narrow == "rung  tokens\n   a       1\n   b      10\n\nrung  FLOPs\n   a     22\n   b      2"
    assert columns(cells, 1).count("\n\n") == 1
