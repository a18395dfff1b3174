import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from probscale.errors import ProbscaleError, RunLogError
from probscale.runs import RunLog


def frame():
    return pd.DataFrame(
        {
            "id": ["r16", "r16", "r17", "r17", "r17"],
            "tokens": [1e9, 2e9, 1e9, 3e9, 4e9],
            "loss": [3.0, 2.8, 3.1, 2.9, 2.7],
            "source": ["c4", "c4", "pile", "pile", "pile"],
            "N_params": [1e8, 1e8, 2e8, 2e8, 2e8],
            "lr": [0.1, 0.1, 0.2, 0.2, 0.2],
        }
    )


ROLES = {"run": "id", "axis": "tokens", "output": "loss", "levels": ("source",), "params": "N_params"}


def put(column, row, value):
    def change(data):
        values = data[column].astype(object)
        values.iloc[row] = value
        data[column] = values if isinstance(value, str) else values.infer_objects()
        return data

    return change


BROKEN = {
    "axis falls": (
        put("tokens", 4, 2e9),
        {},
        r"tokens must rise within a run; run 'r17' has 2e9 after 3e9 \(row 4\)",
    ),
    "point twice": (put("tokens", 4, 3e9), {}, r"run 'r17' has two points at 3e9 \(rows 3 and 4\)"),
    "axis missing": (put("tokens", 3, np.nan), {}, r"tokens must be finite; run 'r17' has no value \(row 3"),
    "axis infinite": (put("tokens", 4, np.inf), {}, r"tokens must be finite; run 'r17' has inf \(row 4"),
    "axis negative": (put("tokens", 0, -1.0), {}, r"tokens must not be negative; run 'r16' has -1 \(row 0"),
    "axis text": (
        put("tokens", 2, "1e9"),
        {},
        r"tokens must be numbers; run 'r17' has '1e9'.*\(row 2\).*to_numeric",
    ),
    "no run": (put("id", 1, None), {}, r"row 1 has no run identifier in 'id'"),
    "mixed runs": (put("id", 1, 16), {}, r"run identifiers in 'id' must all be text or all be numbers"),
    "loss missing": (
        put("loss", 3, np.nan),
        {},
        r"loss must be finite; run 'r17' has no value \(row 3.*nonfinite=",
    ),
    "loss infinite": (
        put("loss", 3, np.inf),
        {},
        r"loss must be finite; run 'r17' has inf \(row 3.*nonfinite=",
    ),
    "level changes": (
        put("source", 4, "c4"),
        {},
        r"source must be constant.*run 'r17' has 'pile' \(row 2\) and 'c4' \(row 4",
    ),
    "params change": (
        put("N_params", 1, 3e8),
        {},
        r"N_params must be constant.*run 'r16' has 1e8 \(row 0\) and 3e8",
    ),
    "lr changes": (
        put("lr", 1, 0.3),
        {"config": ["lr"]},
        r"lr must be constant.*0.1 \(row 0\) and 0.3 \(row 1\)",
    ),
    "level missing": (
        put("source", 0, None),
        {},
        r"every run needs a value of the level 'source'; run 'r16' has none \(row 0",
    ),
    "params zero": (
        put("N_params", 2, 0.0),
        {},
        r"params must be a positive number.*run 'r17' has 0 in 'N_params' \(row 2",
    ),
    "params missing": (put("N_params", 2, np.nan), {}, r"run 'r17' has no value in 'N_params' \(row 2"),
    "horizon negative": (
        lambda d: d.assign(end=-1.0),
        {"horizon": "end"},
        r"horizon must be a positive number",
    ),
    "mixed types": (
        put("lr", slice(0, 2), "auto"),
        {},
        r"'lr' mixes text and numbers: 'auto' \(run 'r16', row 0\) and 0.2 \(run 'r17', row 2",
    ),
    "nested": (lambda d: d.assign(lr=[[1]] * 5), {"config": "lr"}, r"'lr' holds nested values \(list\)"),
    "infinite level": (
        put("N_params", 3, -np.inf),
        {"levels": ["N_params"], "params": None},
        r"needs a value of the level 'N_params'; run 'r17' has -inf \(row 3\)",
    ),
    "one infinite lr": (
        put("lr", 1, np.inf),
        {"config": ["lr"]},
        r"lr must be constant.*run 'r16' has 0.1 \(row 0\) and inf \(row 1\)",
    ),
    "unknown": (
        lambda d: d,
        {"params": "n_params"},
        r"no column 'n_params' \(given as params\); did you mean 'N_params'",
    ),
    "unknown level": (
        lambda d: d,
        {"levels": ["zzz"]},
        r"no column 'zzz' \(given as levels\); columns are: id, tokens",
    ),
    "index": (lambda d: d.set_index("id"), {}, r"run='id' is an index level.*reset_index"),
    "empty": (lambda d: d.iloc[:0], {}, r"the run log is empty"),
    "two roles": (
        lambda d: d,
        {"params": "source"},
        r"column 'source' is given both as levels and as params",
    ),
    "axis as config": (
        lambda d: d,
        {"config": ["tokens"]},
        r"column 'tokens' is axis and cannot also be configuration; drop or rename it",
    ),
    "goal": (lambda d: d, {"goal": "minimise"}, r"""goal must be "min" or "max", got 'minimise'"""),
    "list of goals": (
        lambda d: d.assign(score=1 - d.loss),
        {"output": ["loss", "score"], "goal": ["min", "max"]},
        r"""or of several outputs goal={'loss': "min", ...}, got \['min', 'max'\]""",
    ),
    "nonfinite": (lambda d: d, {"nonfinite": "ignore"}, r"nonfinite must be"),
    "no output": (lambda d: d, {"output": ()}, r"output names no column"),
    "names": (lambda d: d.rename(columns={"lr": 3}), {}, r"column names must be strings, got 3"),
    "twice": (lambda d: d.rename(columns={"lr": "loss"}), {}, r"two columns are both named 'loss'"),
    "all lost": (
        lambda d: d.assign(loss=np.nan),
        {"nonfinite": "drop"},
        r"no point of the log has a finite loss",
    ),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_a_broken_frame_is_refused_by_run_row_and_remedy(case):
    change, roles, message = BROKEN[case]
    with pytest.raises(RunLogError, match=message) as caught:
        RunLog.from_frame(change(frame()), **(ROLES | roles))
    assert isinstance(caught.value, (ProbscaleError, ValueError))


def test_the_context_of_an_error_is_at_hand():
    with pytest.raises(RunLogError) as caught:
        RunLog.from_frame(put("tokens", 4, 2e9)(frame()), **ROLES)
    assert (caught.value.run, caught.value.row, caught.value.column) == ("r17", 4, "tokens")


def test_rows_are_counted_in_the_order_of_the_frame_whatever_its_index():
    broken = put("tokens", 4, 2e9)(frame()).set_axis([7, 7, 7, 7, 7])
    with pytest.raises(RunLogError, match=r"\(row 4\)"):
        RunLog.from_frame(broken, **ROLES)


def test_something_that_is_no_frame_is_refused():
    with pytest.raises(RunLogError, match="got a list; wrap it in"):
        RunLog.from_frame([{"id": 1}], run="id", axis="x", output="y")
    with pytest.raises(RunLogError, match="got pyarrow Table; call its to_pandas"):
        RunLog.from_frame(pa.table({"id": [1]}), run="id", axis="x", output="y")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: log.select(["r18"]), r"no run 'r18'; did you mean 'r1"),
        (lambda log: log.select([]), "holds no run"),
        (lambda log: log.select([True]), r"shape \(1,\), but the log has 2 runs"),
        (lambda log: log.truncate(), "either until="),
        (lambda log: log.truncate(1e9, fraction=0.5), "either until="),
        (lambda log: log.truncate(fraction=0), r"fraction must lie in \(0, 1\]"),
        (lambda log: log.truncate(1.0), "truncation leaves no point: the first tokens of the log is 1e9"),
        (lambda log: log.truncate({"r16": 1e9}), "until has no value for run 'r17'"),
    ],
)
def test_verbs_refuse_what_makes_no_log(call, message):
    with pytest.raises(RunLogError, match=message):
        call(RunLog.from_frame(frame(), **ROLES))


@pytest.mark.parametrize("config", [None, ["lr"]])
@pytest.mark.parametrize("dtype", [float, object])
def test_an_infinite_setting_counts_as_not_given_in_its_run_and_the_column_stays(config, dtype):
    data = frame().assign(lr=[np.inf] * 2 + [0.2] * 3).astype({"lr": dtype})
    log = RunLog.from_frame(data, **ROLES, config=config)
    assert log.roles.config == ("lr",)
    np.testing.assert_array_equal(log.configs["lr"], [np.nan, 0.2])
    assert "lr is infinite in 1 run (r16), and counts there as not given" in log.notes
    assert not any("infinite" in note for note in RunLog.from_frame(frame(), **ROLES, config=config).notes)
