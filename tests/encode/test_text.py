import string
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probscale.encode.glossary import explain
from probscale.encode.text import (
    config_sentence,
    config_sentences,
    is_free_text,
    spoken_number,
    value_sentence,
)
from probscale.encode.vocabulary import field_phrase
from probscale.errors import ConfigError

CONFIG = {
    "optimizer": "muon",
    "lr": 3e-4,
    "N_params": 130_000_000,
    "D_tokens": 2.7e9,
    "n_layers": 12,
    "d_model": 768,
    "batch_size": 128,
    "weight_decay": 0.1,
    "warmup_steps": 2000,
    "matrixLr": 0.02,
    "qk_norm": True,
}

names = st.text(string.ascii_letters + "_", min_size=1, max_size=12)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
values = st.one_of(
    st.floats(allow_nan=False), st.integers(-(10**12), 10**12), st.booleans(), st.text(max_size=40)
)


def test_a_configuration_reads_like_english():
    assert config_sentence(CONFIG) == (
        "130M parameters, 12 layers, model width 768, 2.7B training tokens, optimizer muon, learning rate 0.0003, "
        "batch size 128, 2000 warmup steps, weight decay 0.1, matrix learning rate 0.02, with query-key normalization"
    )


@relaxed
@given(st.dictionaries(names, values, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_keys_leaves_no_trace(config, random):
    items = list(config.items())
    random.shuffle(items)
    assert config_sentence(dict(items)) == config_sentence(config)


@relaxed
@given(st.dictionaries(names, values, max_size=8))
def test_a_sentence_is_one_line_and_never_empty(config):
    sentence = config_sentence(config)
    assert sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "value",
    [
        3e-4,
        np.float64(3e-4),
        np.float32(3e-4),
        "3e-4",
        "0.0003",
        " 3E-4 ",
        Decimal("0.0003"),
        np.array(3e-4),
    ],
)
def test_number_formats_leave_no_trace(value):
    assert config_sentence({"lr": value}) == "learning rate 0.0003"


@pytest.mark.parametrize("value", [128, 128.0, np.int64(128), np.float32(128), "128", "128.0", np.uint8(128)])
def test_integers_and_floats_read_alike(value):
    assert config_sentence({"batch_size": value}) == "batch size 128"


@given(st.integers(-(10**15), 10**15))
def test_every_integer_reads_like_its_float(number):
    assert spoken_number(number) == spoken_number(float(number))


@given(st.floats(-1e300, 1e300))
def test_a_spoken_number_is_the_number_to_four_digits(number):
    scale = {"T": 1e12, "B": 1e9, "M": 1e6}
    spoken = spoken_number(number)
    read = float(spoken[:-1]) * scale[spoken[-1]] if spoken[-1] in scale else float(spoken)
    assert read == pytest.approx(number, rel=5.1e-4, abs=0)


@pytest.mark.parametrize(
    ("number", "spoken"),
    [
        (0.0, "0"), (-0.0, "0"), (0.1 + 0.2, "0.3"), (1e-20, "1e-20"), (1e-5, "1e-5"), (524288, "524288"),
        (134_217_728, "134.2M"), (999_960_000, "1B"), (2.1613e18, "2.161e18"), (-2e6, "-2M"),
        (float("inf"), "infinite"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them(number, spoken):
    assert spoken_number(number) == spoken


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.float32("nan"), "", "nan", " None "]
)
def test_missing_optional_fields_leave_no_trace(missing):
    assert config_sentence(CONFIG | {"adam_lr": missing}) == config_sentence(CONFIG)
    assert value_sentence("optimizer", missing) == "unspecified optimizer"


@pytest.mark.parametrize("yes", [True, np.True_, "true", "True"])
def test_booleans_read_with_and_without(yes):
    assert config_sentence({"nesterov": yes}) == "with nesterov"
    assert config_sentence({"nesterov": not yes if isinstance(yes, bool) else False}) == "without nesterov"


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("learning_rate", "learning rate 3"), ("learningRate", "learning rate 3"), ("optim.lr", "optimizer learning rate 3"),
        ("peak_lr", "peak learning rate 3"), ("N", "3 parameters"), ("D", "3 training tokens"),
        ("n_gpus", "3 gpus"), ("num_shared_experts", "3 shared experts"), ("unique_tokens", "3 unique tokens"),
        ("tiedEmbedLR", "tied embedding learning rate 3"), ("batch_tokens", "batch size 3 tokens"), ("x", "x 3"),
        ("dropoutRate", "dropout 3"), ("___", "field 3"), ("größe", "größe 3"),
    ],
)  # fmt: skip
def test_field_names_are_spelt_out(name, phrase):
    assert config_sentence({name: 3}) == phrase


def test_identifiers_with_leading_zeros_stay_text():
    assert config_sentence({"dataset": "007"}) != config_sentence({"dataset": "7"})


def test_long_free_text_is_kept_whole_and_put_last():
    recipe = "11 layers with partial   RoPE,\n EMA weight averaging and a sliding window of evaluation. " * 5
    sentence = config_sentence({"a_recipe": recipe, "lr": 0.01, "z": "last"})
    assert sentence == "learning rate 0.01, z last. a recipe: " + " ".join(recipe.split())


@pytest.mark.parametrize(
    "field", ["config.optimizer", "config/optimizer", "params.optimizer", "optimizer.name"]
)
def test_settings_are_spoken_of_the_same_wherever_a_tracker_puts_them(field):
    assert value_sentence(field, "lion") == value_sentence("optimizer", "lion")
    assert field_phrase("critic.lr").name != field_phrase("lr").name


def test_nested_mappings_and_their_json_text_read_alike():
    nested = {"optimizer": {"beta1": 0.9, "lr": 3e-4, "eps": None}}
    text = {"optimizer": '{"lr": 0.0003, "eps": null, "beta1": 0.90}'}
    assert (
        config_sentence(nested)
        == config_sentence(text)
        == "optimizer beta1 0.9, optimizer learning rate 0.0003"
    )


def test_sequences_read_as_their_values_in_order():
    expected = "betas 0.9 0.95"
    assert {
        config_sentence({"betas": form}) for form in ([0.9, 0.95], (0.9, "0.95"), np.array([0.9, 0.95]))
    } == {expected}


def test_only_chosen_fields_are_spoken_of():
    assert config_sentence(CONFIG, fields=["lr", "n_layers", "absent"]) == "12 layers, learning rate 0.0003"
    assert config_sentence(CONFIG, fields=(name for name in ["lr"])) == "learning rate 0.0003"
    assert config_sentence(CONFIG, fields=[]) == config_sentence({}) == "unspecified configuration"


def test_a_table_reads_like_its_rows():
    frame = pd.DataFrame([CONFIG, {"lr": 1e-3, "dropout": 0.1}, CONFIG]).astype({"optimizer": "category"})
    expected = [
        config_sentence(CONFIG),
        config_sentence({"lr": 1e-3, "dropout": 0.1}),
        config_sentence(CONFIG),
    ]
    assert config_sentences(frame) == expected
    assert config_sentences(frame, fields=["lr"]) == [
        "learning rate 0.0003",
        "learning rate 0.001",
        "learning rate 0.0003",
    ]
    assert config_sentences(frame, fields=[]) == ["unspecified configuration"] * 3
    assert config_sentences(frame.iloc[:0]) == []


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="single string 'lr'"):
        config_sentence(CONFIG, fields="lr")
    with pytest.raises(ConfigError, match="not a mapping"):
        config_sentence([("lr", 1)])


def test_known_values_are_explained_whatever_their_spelling():
    assert value_sentence("optim", "Muon").startswith("optimizer Muon: Muon, momentum orthogonalized")
    assert value_sentence("trg", "de_DE") == "target language de DE: German, Germanic language"
    assert explain("optimizer", "adam-mini") == explain("optimizer", "Adam Mini")
    assert value_sentence("optimizer", "home_made") == "optimizer home made"
    assert value_sentence("dataset", "en") == "data set en"


def test_a_numeric_level_reads_like_its_field():
    assert value_sentence("n_embd", 128.0) == value_sentence("n_embd", "128") == "model width 128"


def test_a_description_stands_for_itself():
    text = "Transformer with rotary positions and squared ReLU activations throughout."
    assert value_sentence("description", text) == text


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (
            ["a decoder with rotary embeddings and grouped attention heads trained on web text"] * 2 + [None],
            True,
        ),
        (["adamw", "muon", None], False),
        (
            ["/a/very/long/path/of/a/tokenized/corpus/that/nobody/would/call/prose/fineweb-edu-10B-6fbcbb"],
            False,
        ),
        ([1.0, 2.0], False),
        ([], False),
        ([None, np.nan], False),
        (["muon", "adamw", "one single value out of three that has eight words"], False),
    ],
)
def test_prose_is_told_from_names(column, expected):
    assert is_free_text(column) is expected
    assert is_free_text(pd.Series(column, dtype=object)) is expected


def test_every_known_spelling_leads_back_to_its_phrase():
    assert field_phrase("maxGradNorm") == field_phrase("grad_clip") == field_phrase("max-grad-norm")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("learner", "sklearn.tree.DecisionTreeClassifier", "single"),
        ("classifier", "SVC_rbf", "radial"),
        ("router_type", "S-Base", "balanced"),
        ("router", "RL-R", "reinforcement"),
    ],
)
def test_learners_and_routers_are_explained(field, value, word):
    assert word in value_sentence(field, value)


@pytest.mark.parametrize("name", ["E0", ".e1", "+", "."])
def test_a_name_that_only_looks_like_a_number_stays_a_name(name):
    assert name in config_sentence({"variant": name})
