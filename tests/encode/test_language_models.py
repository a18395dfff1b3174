import pickle
import time

import numpy as np
import pytest

from probscale.encode.embedders import HuggingFaceEmbedder
from probscale.encode.language_models import PATIENCE, pool
from probscale.errors import ConfigError, EmbeddingError

TEXTS = [
    "optimizer adamw learning rate 0.001",
    "muon",
    "a long text about schedules , optimizer lion model width 512 layers 12 batch size 128 .",
    "optimizer adamw learning rate 0.001",
    "weight decay 0.1",
]


def hidden_states(folder, text, max_length=1000):
    """Last hidden states of one text, straight from transformers, without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    ids = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "byt5"])
@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_pooled_batches_equal_the_hidden_states_of_each_text_alone(tiny_models, name, pooling):
    embedder = HuggingFaceEmbedder(str(tiny_models[name]), pooling=pooling, batch_size=3)
    texts = TEXTS if name != "byt5" else [text[:30] for text in TEXTS]
    pick = {"mean": lambda h: h.mean(axis=0), "last": lambda h: h[-1], "cls": lambda h: h[0]}[pooling]
    direct = np.stack([pick(hidden_states(tiny_models[name], text)) for text in texts])
    np.testing.assert_allclose(embedder.embed(texts), direct, atol=1e-5)


def test_pooling_honours_the_mask_on_either_side():
    import torch

    hidden = torch.arange(2 * 4 * 3, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    expected = {
        "mean": [(hidden[0, 0] + hidden[0, 1]) / 2, (hidden[1, 2] + hidden[1, 3]) / 2],
        "last": [hidden[0, 1], hidden[1, 3]],
        "cls": [hidden[0, 0], hidden[1, 2]],
    }
    for pooling, rows in expected.items():
        assert torch.equal(pool(hidden, mask, pooling), torch.stack(rows))


@pytest.mark.parametrize("name", ["bert", "gpt2", "byt5"])
def test_the_end_of_a_text_beyond_the_window_counts(tiny_models, name):
    embedder = HuggingFaceEmbedder(str(tiny_models[name]), max_length=16)
    start = "learning rate " * 20
    first, second = embedder.embed([start + "muon", start + "lion"])
    assert np.abs(first - second).max() > 1e-4


def test_windows_are_averaged_by_their_length(tiny_models):
    embedder = HuggingFaceEmbedder(str(tiny_models["gpt2"]), max_length=4)
    words = ["muon", "lion", "adamw", "layers", "width", "rate"]
    parts = [hidden_states(tiny_models["gpt2"], " ".join(chunk)) for chunk in (words[:4], words[4:])]
    direct = (parts[0].sum(axis=0) + parts[1].sum(axis=0)) / len(words)
    np.testing.assert_allclose(embedder.embed([" ".join(words)])[0], direct, atol=1e-6)


def test_a_text_without_tokens_gets_the_zero_vector(tiny_models):
    embedder = HuggingFaceEmbedder(str(tiny_models["gpt2"]), pooling="last")
    vectors = embedder.embed(["", "muon", "  "])
    assert (vectors[[0, 2]] == 0).all()
    assert (vectors[1] != 0).any()
    assert (embedder.embed([""]) == 0).all()


def test_a_prefix_is_the_same_as_writing_it_out(tiny_models):
    plain = HuggingFaceEmbedder(str(tiny_models["llama"]))
    prefixed = HuggingFaceEmbedder(str(tiny_models["llama"]), prefix="training tokens ")
    written = plain.embed(["training tokens muon", "training tokens lion"])
    np.testing.assert_allclose(prefixed.embed(["muon", "lion"]), written, atol=1e-6)


def test_unit_norm_gives_unit_vectors(tiny_models):
    embedder = HuggingFaceEmbedder(str(tiny_models["bert"]), unit_norm=True)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(TEXTS), axis=1), 1.0, atol=1e-6)


def test_half_precision_stays_close_and_is_pooled_in_single(tiny_models):
    single = HuggingFaceEmbedder(str(tiny_models["llama"])).embed(TEXTS)
    half = HuggingFaceEmbedder(str(tiny_models["llama"]), dtype="bfloat16").embed(TEXTS)
    assert 0 < np.abs(single - half).max() < 0.1


def test_identity_separates_everything_the_vectors_depend_on(tiny_models):
    path = str(tiny_models["bert"])
    variants = [
        {},
        {"pooling": "cls"},
        {"max_length": 8},
        {"prefix": "x"},
        {"unit_norm": True},
        {"dtype": "float16"},
    ]
    identities = [HuggingFaceEmbedder(path, **options).identity for options in variants]
    identities.append(HuggingFaceEmbedder(str(tiny_models["gpt2"])).identity)
    assert len(set(identities)) == len(identities)
    assert HuggingFaceEmbedder(path, batch_size=1).identity == identities[0]


def test_identity_follows_the_weights_and_not_the_place(tiny_models, tmp_path):
    import shutil

    moved = shutil.copytree(tiny_models["bert"], tmp_path / "elsewhere")
    original = HuggingFaceEmbedder(str(tiny_models["bert"])).identity
    assert HuggingFaceEmbedder(str(moved)).identity == original
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert HuggingFaceEmbedder(str(moved)).identity != original


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_models, tmp_path):
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(tiny_models["bert"], tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingError, match=r"no weights for 1 .*encoder\.layer\.1"):
        HuggingFaceEmbedder(str(broken)).embed(["muon"])


def test_a_folder_that_holds_no_model_is_named_in_the_error(tmp_path):
    with pytest.raises(EmbeddingError, match="could not be loaded") as caught:
        HuggingFaceEmbedder(str(tmp_path)).embed(["muon"])
    assert caught.value.model == str(tmp_path)


def test_an_unknown_model_without_network_is_an_embedding_error():
    embedder = HuggingFaceEmbedder("no-such-owner/no-such-model", local_files_only=True)
    with pytest.raises(EmbeddingError, match="no-such-owner/no-such-model"):
        embedder.embed(["muon"])


def test_a_hub_out_of_reach_is_told_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    began = time.perf_counter()
    with pytest.raises(EmbeddingError, match=r"127\.0\.0\.1:9 cannot be reached .* embedder=\"default\""):
        HuggingFaceEmbedder("no-such-owner/no-such-model").embed(["muon"])
    assert time.perf_counter() - began < PATIENCE


def test_a_window_beyond_the_model_is_refused(tiny_models):
    with pytest.raises(EmbeddingError, match="at most 64 tokens"):
        HuggingFaceEmbedder(str(tiny_models["bert"]), max_length=65).embed(["muon"])


@pytest.mark.parametrize(
    "options", [{"pooling": "max"}, {"dtype": "float8"}, {"batch_size": 0}, {"max_length": 1}], ids=str
)
def test_unknown_options_are_refused_at_once(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        HuggingFaceEmbedder("anything", **options)


def test_loading_is_silent_and_changes_no_setting(tiny_models, capfd):
    import torch
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_default_dtype())
    state = torch.random.get_rng_state()
    HuggingFaceEmbedder(str(tiny_models["llama"])).embed(TEXTS)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_default_dtype()) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.set_tqdm_hook(None) is None


def test_a_reason_of_several_lines_becomes_one_paragraph(monkeypatch, tmp_path):
    from huggingface_hub.utils import logging

    heard = []

    def offline(spec):
        heard.append(logging.get_verbosity())
        raise OSError("no connection.\nCheck it.")

    before = logging.get_verbosity()
    monkeypatch.setattr("probscale.encode.language_models._from_pretrained", offline)
    with pytest.raises(EmbeddingError, match=r"no connection. Check it. Give the folder"):
        HuggingFaceEmbedder(str(tmp_path)).embed(["muon"])
    assert heard == [logging.ERROR]
    assert logging.get_verbosity() == before


def test_a_pickled_embedder_leaves_its_weights_behind(tiny_models):
    embedder = HuggingFaceEmbedder(str(tiny_models["bert"]))
    vectors = embedder.embed(TEXTS)
    content = pickle.dumps(embedder)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content).embed(TEXTS), vectors)


def test_threads_may_share_a_model(tiny_models):
    from concurrent.futures import ThreadPoolExecutor

    embedder = HuggingFaceEmbedder(str(tiny_models["bert"]))
    expected = embedder.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool_of_threads:
        results = list(pool_of_threads.map(lambda _: embedder.embed(TEXTS), range(12)))
    for vectors in results:
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
