import json
import pickle
import random
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from probscale.encode.cache import EmbeddingCache
from probscale.encode.embedders import BundledEmbedder, HashedNgramEmbedder, HuggingFaceEmbedder, get_embedder
from probscale.encode.language_models import load_language_model
from probscale.encode.lora import LoraEmbedder, new_adapter, write_adapter
from probscale.encode.projection import center_project
from probscale.encode.reading import Reader
from probscale.encode.tuning import best_epochs, fine_tune
from probscale.errors import ConfigError, EmbeddingError

WORDS = ["adamw", "muon", "lion"]
FILLER = ["model width 512", "layers 12", "batch size 128 warmup steps", "a long text", "weight decay 0.1"]
TEXTS = [f"optimizer {word} {more}" for word in WORDS for more in FILLER]
TARGETS = [float(WORDS.index(text.split()[1])) for text in TEXTS]
ARCHITECTURES = ["bert", "gpt2", "llama", "byt5"]
QUICK = {"epochs": 2, "rank": 2}


@pytest.fixture(scope="module")
def bases(tiny_models):
    pooling = {"gpt2": "last", "llama": "last"}
    return {
        name: HuggingFaceEmbedder(str(tiny_models[name]), pooling.get(name, "mean")) for name in tiny_models
    }


@pytest.fixture(scope="module")
def tuned(bases, tmp_path_factory):
    """Adapters of every architecture, trained for two epochs."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: fine_tune(TEXTS, TARGETS, folder=root / name, base=bases[name], **QUICK)
        for name in ARCHITECTURES
    }


def change_weights(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_adapter_that_was_not_trained_changes_nothing(bases, name, tmp_path):
    base = bases[name]
    adapted = new_adapter(load_language_model(base.spec).network, rank=4, seed=0, name="it")
    write_adapter(adapted, tmp_path / "adapter", base, {})
    found = LoraEmbedder(str(tmp_path / "adapter"))
    np.testing.assert_array_equal(found.embed(TEXTS), base.embed(TEXTS))
    assert found.dim == base.dim


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_moves_the_vectors_of_encoders_and_decoders(tuned, bases, name):
    vectors, before = tuned[name].embed(TEXTS), bases[name].embed(TEXTS)
    assert np.isfinite(vectors).all()
    assert np.abs(vectors - before).max() > 1e-4
    assert vectors.shape == before.shape
    assert tuned[name].embed([]).shape == (0, bases[name].dim)


def test_vectors_are_those_of_a_model_with_the_changes_added_to_its_weights(tuned, tiny_models):
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(tiny_models["bert"]).eval()
    weights = load_file(f"{tuned['bert'].folder}/adapter_model.safetensors")
    own = model.state_dict()
    places = {key.rsplit(".lora_", 1)[0] for key in weights}
    assert len(places) == 4
    for place in places:
        change = 2.0 * weights[f"{place}.lora_B.weight"] @ weights[f"{place}.lora_A.weight"]
        own[f"{place.removeprefix('base_model.model.')}.weight"] += change
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["bert"])
    for text, vector in zip(TEXTS, tuned["bert"].embed(TEXTS), strict=True):
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        np.testing.assert_allclose(vector, hidden.mean(dim=0).double().numpy(), atol=1e-5)


def test_the_folder_is_one_that_peft_reads(tuned, tiny_models):
    import warnings

    from peft import PeftModel
    from transformers import AutoModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModel.from_pretrained(tiny_models["llama"])
        model = PeftModel.from_pretrained(model, tuned["llama"].folder)
    ours = dict(tuned["llama"]._loaded.network.named_parameters())
    theirs = {name: value for name, value in model.named_parameters() if "lora_" in name}
    assert theirs
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_identity_follows_the_content_and_not_the_place(tuned, bases, tmp_path):
    original = tuned["bert"]
    moved = shutil.copytree(original.folder, tmp_path / "elsewhere")
    copy = LoraEmbedder(str(moved), bases["bert"])
    assert copy.identity == original.identity != bases["bert"].identity
    assert bases["bert"].identity in copy.identity
    change_weights(moved, lambda weights: {key: value + 1e-3 for key, value in weights.items()})
    assert LoraEmbedder(str(moved)).identity != original.identity


def test_identity_does_not_depend_on_the_order_in_which_peft_writes_sets(tuned, tmp_path):
    turned = shutil.copytree(tuned["bert"].folder, tmp_path / "turned")
    settings = json.loads((turned / "adapter_config.json").read_text())
    assert len(settings["target_modules"]) == 2
    settings["target_modules"].reverse()
    (turned / "adapter_config.json").write_text(json.dumps(settings))
    assert LoraEmbedder(str(turned)).identity == tuned["bert"].identity


def test_nobody_is_asked_over_the_network(bases, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: asked.append(a) or [])
    network = load_language_model(bases["gpt2"].spec).network
    adapted = new_adapter(network, rank=2, seed=0, name="some/model")
    write_adapter(adapted, tmp_path / "new", bases["gpt2"], {})
    LoraEmbedder(str(tmp_path / "new")).embed(TEXTS)
    assert asked == []


def test_cached_vectors_of_a_model_and_its_adapter_stay_apart(tuned, bases, tmp_path):
    cache = EmbeddingCache(tmp_path)
    first, second = (cache.embed(embedder, TEXTS) for embedder in (bases["gpt2"], tuned["gpt2"]))
    assert np.abs(first - second).max() > 1e-4
    again = EmbeddingCache(tmp_path).embed(LoraEmbedder(tuned["gpt2"].folder), TEXTS)
    np.testing.assert_array_equal(again, second)


def test_a_pickled_embedder_gives_the_same_vectors(tuned):
    vectors = tuned["bert"].embed(TEXTS)
    content = pickle.dumps(tuned["bert"])
    assert len(content) < 2_000
    np.testing.assert_array_equal(pickle.loads(content).embed(TEXTS), vectors)


def test_the_folder_alone_names_the_embedder(tuned, bases):
    found = get_embedder(tuned["llama"].folder)
    assert isinstance(found, LoraEmbedder)
    assert found.model == bases["llama"]
    assert found.model.pooling == "last"
    assert found.identity == tuned["llama"].identity


def test_the_record_tells_how_the_adapter_was_made(tuned):
    record = tuned["bert"].record
    assert record["epochs"] == 2
    assert record["texts"] == len(TEXTS)
    assert record["settings"]["rank"] == 2
    assert "/" not in str(record["settings"])


def test_same_seed_same_adapter_and_no_global_dice(bases, tuned, tmp_path):
    def dice():
        numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), numbers

    before = dice()
    again = fine_tune(TEXTS, TARGETS, folder=tmp_path / "again", base=bases["bert"], **QUICK)
    other = fine_tune(TEXTS, TARGETS, folder=tmp_path / "other", base=bases["bert"], seed=1, **QUICK)
    again.embed(TEXTS)
    assert dice() == before
    assert again.identity == tuned["bert"].identity != other.identity


def test_left_out_groups_choose_the_epochs(bases, tmp_path):
    options = {"base": bases["bert"], "choose_epochs": True, **QUICK}
    found = fine_tune(TEXTS, TARGETS, folder=tmp_path / "new", **options)
    record = found.record
    assert len(record["held_out_error"]) == 3
    assert np.isfinite(record["held_out_error"]).all()
    assert 0 <= record["epochs"] <= 2


def test_texts_of_several_kinds_share_an_adapter(bases, tmp_path):
    kinds = {"optimizer": TEXTS, "more": TEXTS[::-1]}
    numbers = {name: np.arange(len(TEXTS)) % 4 for name in kinds}
    groups = {name: [i // 2 % 8 for i in range(len(TEXTS))] for name in kinds}
    options = {"groups": groups, "base": bases["bert"], **QUICK}
    found = fine_tune(kinds, numbers, folder=tmp_path / "both", **options)
    assert found.record["groups"] == {"optimizer": 8, "more": 8}
    assert found.record["texts"] == len(TEXTS)


def test_epochs_count_only_where_left_out_groups_gain_beyond_chance():
    noise = np.array([0.3, -0.3, 0.2, -0.2, 0.1])
    assert best_epochs(1 + np.array([np.zeros(5), noise - 0.05, 1 + noise])) == 0
    assert best_epochs(1 + np.array([np.zeros(5), noise - 0.5, noise - 0.4])) == 1
    assert best_epochs(np.zeros((4, 6))) == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vectors_with_gradients_are_those_of_embedding(bases, name):
    model = load_language_model(bases[name].spec)
    texts = [*TEXTS, "optimizer " * 70]
    index = np.array([3, 15, 0, 7])
    found = Reader(model, model.split(texts), portion=16).vectors(index)
    np.testing.assert_allclose(found, model.embed([texts[i] for i in index]), atol=1e-5)


def test_gradients_do_not_depend_on_the_portions(bases):
    index = np.array([5, 1, 11, 2])
    target = torch.linspace(-1, 1, 4 * bases["bert"].dim).reshape(4, -1)
    found = []
    for portion in (16, 10_000):
        model = load_language_model(bases["bert"].spec)
        adapted = new_adapter(model.network, rank=2, seed=0, name="it")
        reader = Reader(replace(model, network=adapted), model.split(TEXTS), portion=portion)
        reader.backward(index, lambda vectors: (vectors - target).pow(2).sum() * vectors.std())
        found.append(torch.cat([p.grad.flatten() for p in reader.trained]))
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_an_earlier_adapter_is_replaced_and_nothing_is_left_behind(bases, tmp_path):
    folder = tmp_path / "adapter"
    first = fine_tune(TEXTS, TARGETS, folder=folder, base=bases["bert"], **QUICK).identity
    (folder / "note.txt").write_text("mine")
    second = fine_tune(TEXTS, TARGETS, folder=folder, base=bases["bert"], seed=5, **QUICK).identity
    assert first != second
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_an_adapter_is_never_replaced(bases, tmp_path, kind):
    place = tmp_path / "thesis"
    place.write_text("chapter 1") if kind == "file" else (place.mkdir(), (place / "a.tex").write_text("x"))
    with pytest.raises(ConfigError, match="something other than an adapter"):
        fine_tune(TEXTS, TARGETS, folder=place, base=bases["bert"], **QUICK)
    assert place.exists()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": TARGETS[:-1]}, r"shape \(14,\) for 15 texts"),
        ({"targets": [1.0] * 15}, "must be finite and differ"),
        ({"targets": [np.nan, *TARGETS[1:]]}, "must be finite and differ"),
        ({"groups": WORDS}, "groups of 'text' are 3 for 15 texts"),
        ({"groups": ["a", "b", "c"] * 5}, "has 3 groups of texts; fine-tuning needs at least 8"),
        ({"texts": "optimizer adamw"}, "single string"),
        ({"texts": {}}, "empty mapping"),
        ({"targets": {"other": TARGETS}}, r"given for \['other'\]"),
        ({"rank": 0}, "rank is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"base": None}, "cannot be fine-tuned"),
        ({"base": HashedNgramEmbedder()}, "cannot be fine-tuned"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(bases, tmp_path, change, message):
    given = {"texts": TEXTS, "targets": TARGETS, "base": bases["bert"], **QUICK} | change
    with pytest.raises(ConfigError, match=message):
        fine_tune(given.pop("texts"), given.pop("targets"), folder=tmp_path / "new", **given)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_adapter_is_refused(tiny_models, tmp_path):
    for folder in (tiny_models["bert"], tmp_path / "nowhere"):
        with pytest.raises(EmbeddingError, match="not the folder of an adapter: adapter_config"):
            LoraEmbedder(str(folder))


def test_an_adapter_of_another_model_is_refused(tuned, bases, tmp_path):
    with pytest.raises(EmbeddingError, match="was made for language model"):
        LoraEmbedder(tuned["bert"].folder, bases["llama"]).embed(TEXTS)
    foreign = shutil.copytree(tuned["bert"].folder, tmp_path / "foreign")
    (foreign / "probscale.json").unlink()
    with pytest.raises(EmbeddingError, match="does not fit the language model"):
        LoraEmbedder(str(foreign), bases["llama"]).embed(TEXTS)
    found = LoraEmbedder(str(foreign), bases["bert"])
    np.testing.assert_array_equal(found.embed(TEXTS), tuned["bert"].embed(TEXTS))
    assert found.record == {}


def test_an_adapter_that_lacks_weights_or_is_damaged_is_refused(tuned, bases, tmp_path):
    folder = shutil.copytree(tuned["bert"].folder, tmp_path / "adapter")
    change_weights(folder, lambda weights: dict(list(weights.items())[1:]))
    with pytest.raises(EmbeddingError, match="starting with"):
        LoraEmbedder(str(folder)).embed(TEXTS)
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(EmbeddingError, match="does not fit the language model"):
        LoraEmbedder(str(folder)).embed(TEXTS)
    (folder / "probscale.json").write_text("{")
    with pytest.raises(EmbeddingError, match="is damaged"):
        LoraEmbedder(str(folder)).embed(TEXTS)
    with pytest.raises(ConfigError, match="an adapter needs"):
        LoraEmbedder(str(folder), HashedNgramEmbedder())


def test_without_the_extra_the_message_names_it(tuned, tmp_path):
    code = """
import sys
sys.modules["peft"] = None
from probscale.encode.lora import LoraEmbedder
from probscale.encode.tuning import fine_tune
from probscale.errors import MissingExtraError
for ask in (lambda: LoraEmbedder(sys.argv[1]).embed(["a"]), lambda: fine_tune([], [], folder=sys.argv[2])):
    try:
        ask()
    except MissingExtraError as error:
        print(error)
"""
    command = [sys.executable, "-c", code, tuned["bert"].folder, str(tmp_path / "new")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.count('pip install "probscale-surrogates[lora]"') == 2


@pytest.mark.slow
def test_the_bundled_model_learns_which_word_decides(tmp_path):
    """Of new sentences, the tuned model tells more than the model as it comes."""
    generator = np.random.default_rng(0)
    effect = {"AdamW": 0.0, "Muon": -1.0, "SGD": 1.5, "Lion": 0.5}
    teams, corpora = (
        ["blue", "northern", "evening", "second"],
        ["news", "recipes", "code", "songs", "chemistry"],
    )
    texts = [f"{t} team trained on {c} with {o}" for t in teams for c in corpora for o in effect]
    numbers = np.array([effect[text.split()[-1]] for text in texts]) + 0.1 * generator.standard_normal(80)
    order = generator.permutation(80)
    seen, new = order[:48], order[48:]
    found = fine_tune(
        [texts[i] for i in seen], numbers[seen], folder=tmp_path / "adapter", epochs=5, choose_epochs=True
    )
    assert found.record["epochs"] > 0
    errors = []
    for embedder in (BundledEmbedder(), found):
        vectors = embedder.embed(texts)
        places = center_project(vectors[seen], 4).apply(vectors)
        rows = np.column_stack([places, np.ones(len(texts))])
        weights = np.linalg.lstsq(rows[seen], numbers[seen], rcond=None)[0]
        errors.append(np.abs(rows[new] @ weights - numbers[new]).mean())
    assert errors[1] < 0.75 * errors[0]
