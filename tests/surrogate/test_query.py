"""What is asked of a surrogate: slips are refused, gaps are fine."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pandas as pd
import pytest

from probscale.errors import ConfigError, ExtrapolationWarning, UnknownColumnWarning, expecting_new_values
from probscale.runs.pools import pool_table
from probscale.surrogate.query import read_configs


def test_a_word_in_place_of_a_number_is_refused(texts):
    with pytest.raises(ConfigError, match="lr is a number in every run of the log; row 1 has 'high'"):
        read_configs([{"optimizer": "adamw", "lr": 1e-3}, {"optimizer": "adamw", "lr": "high"}], texts)


def test_numbers_may_be_missing_or_written_out_and_words_may_be_new(texts):
    asked = [{"optimizer": "shampoo", "lr": None}, {"optimizer": "adamw", "lr": "3e-4"}]
    assert len(read_configs(asked, texts)) == 2


@pytest.mark.parametrize("value", [{"a": 1}, ["adamw", "lion"], ("adamw",)])
def test_a_nested_value_in_place_of_a_single_one_is_refused(texts, value):
    with pytest.raises(ConfigError, match="optimizer is a single value in every run of the log; row 0 has"):
        read_configs([{"optimizer": value, "lr": 1e-3}], texts)


def test_two_columns_of_one_name_are_refused(texts):
    frame = pd.DataFrame([["adamw", 1e-3, 1e-2]], columns=["optimizer", "lr", "lr"])
    with pytest.raises(ConfigError, match="configs has two columns named 'lr'"):
        read_configs(frame, texts)


def test_a_row_of_a_table_is_a_configuration(texts):
    row = texts.configs.iloc[4]
    assert read_configs(row, texts).to_dict("records") == [row.to_dict()]
    assert pool_table(row).to_dict("records") == [row.to_dict()]


def test_a_label_in_another_spelling_is_pointed_out(texts):
    with pytest.warns(
        ExtrapolationWarning, match="optimizer 'AdamW' is in no run .* if it is 'adamw', write"
    ):
        assert len(read_configs([{"optimizer": "AdamW", "lr": 1e-3}], texts)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configs([{"optimizer": "shampoo", "lr": 1e-3}, {"optimizer": "adamw", "lr": 1e-3}], texts)


def test_columns_named_like_those_of_the_log_are_suggested(texts):
    nested = replace(
        texts,
        configs=texts.configs.rename(columns={"lr": "config.lr"}),
        roles=replace(texts.roles, config=tuple("config.lr" if n == "lr" else n for n in texts.roles.config)),
    )
    with pytest.warns(UnknownColumnWarning, match="ignored: LR; did you mean 'config.lr' for 'LR'"):
        read_configs([{"optimizer": "adamw", "LR": 1e-3}], nested)
    with pytest.warns(UnknownColumnWarning, match="ignored: optimzer; did you mean 'optimizer' for"):
        read_configs([{"optimzer": "adamw", "config.lr": 1e-3}], nested)
    with pytest.warns(UnknownColumnWarning, match="ignored: colour$"):
        read_configs([{"optimizer": "adamw", "config.lr": 1e-3, "colour": 3}], nested)


def test_another_value_of_what_every_run_shares_is_pointed_out(texts):
    same = replace(texts, configs=texts.configs.assign(decay=0.1, schedule="cosine"))
    same = replace(same, roles=replace(same.roles, config=(*same.roles.config, "decay", "schedule")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configs([{"optimizer": "adamw", "lr": 1e-3, "decay": "1e-1", "schedule": None}], same)
    asked = {"optimizer": "adamw", "lr": 1e-3}
    with pytest.warns(ExtrapolationWarning, match=r"schedule is cosine in every run of the log; what linear"):
        read_configs([asked | {"schedule": "linear"}], same)
    with pytest.warns(ExtrapolationWarning, match=r"decay is 0\.1 in every run of the log; what 0 would"):
        read_configs([asked | {"decay": 0.0}], same)
    with warnings.catch_warnings(), expecting_new_values():
        warnings.simplefilter("error")
        read_configs([asked | {"decay": 0.0}], same)


@pytest.mark.parametrize(
    ("pool", "message"),
    [([], "pool is empty"), ("runs.csv", "pool is a str"), (3, "pool is a int"), ([1, 2], "pool is a list")],
)
def test_pools_that_are_no_tables_are_refused(pool, message):
    with pytest.raises(ConfigError, match=message):
        pool_table(pool)


def test_a_pool_keeps_its_index():
    frame = pd.DataFrame({"N": [1.0, 2.0]}, index=["a", "b"])
    assert pool_table(frame) is frame
    assert pool_table({"N": 1.0})["N"].tolist() == [1.0]


def test_an_infinite_setting_is_asked_for_as_one_not_given(texts):
    asked = read_configs(
        [{"optimizer": "adamw", "lr": float("inf")}, {"optimizer": "adamw", "lr": 1e-3}], texts
    )
    assert asked["lr"].isna().tolist() == [True, False]
