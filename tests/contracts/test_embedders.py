"""One suite that every embedder passes."""

import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from probscale.encode.cache import CachedEmbedder, EmbeddingCache
from probscale.encode.embedders import BundledEmbedder, Embedder, HashedNgramEmbedder, HuggingFaceEmbedder
from probscale.encode.language_models import load_language_model
from probscale.encode.lora import LoraEmbedder, new_adapter, write_adapter
from probscale.errors import ConfigError

TEXTS = [
    "optimizer adamw, learning rate 0.001",
    "optimizer muon , learning rate 0.0003 , model width 512 , layers 12 , weight decay 0.1 , batch size 128",
    "muon",
    "training tokens 130M",
    "muon",
    "a long text about schedules . " * 6,
    "größe 模型 🙂",
]
KINDS = (
    "ngram",
    "bundled",
    "encoder mean",
    "encoder cls",
    "decoder last",
    "decoder mean",
    "rotary last",
    "cached",
    "adapted encoder",
    "adapted decoder",
)


def adapted(base, folder):
    """The model with an adapter that changes its vectors."""
    network = new_adapter(load_language_model(base.spec).network, rank=2, seed=0, name="it")
    with torch.random.fork_rng():
        for parameter in network.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
    write_adapter(network, folder, base, {})
    return LoraEmbedder(str(folder), base)


@pytest.fixture(scope="module")
def embedders(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedders")
    builders = runpy.run_path(str(Path(__file__).parents[1] / "encode" / "tiny_models.py"))
    bert, gpt2, llama = (str(builders[f"save_{name}"](root / name)) for name in ("bert", "gpt2", "llama"))
    every = (
        HashedNgramEmbedder(dim=64),
        BundledEmbedder(batch_size=4),
        HuggingFaceEmbedder(bert, batch_size=4),
        HuggingFaceEmbedder(bert, pooling="cls", batch_size=4),
        HuggingFaceEmbedder(gpt2, pooling="last", batch_size=4),
        HuggingFaceEmbedder(gpt2, pooling="mean", batch_size=4),
        HuggingFaceEmbedder(llama, pooling="last", batch_size=4),
        CachedEmbedder(
            HuggingFaceEmbedder(bert, batch_size=4, max_length=10), EmbeddingCache(root / "cache")
        ),
        adapted(HuggingFaceEmbedder(bert, batch_size=4), root / "adapted bert"),
        adapted(HuggingFaceEmbedder(llama, pooling="last", batch_size=4), root / "adapted llama"),
    )
    return dict(zip(KINDS, every, strict=True))


@pytest.fixture(params=KINDS)
def embedder(request, embedders) -> Embedder:
    return embedders[request.param]


def test_one_finite_row_per_text(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float64
    assert np.isfinite(vectors).all()


def test_no_texts_give_no_rows(embedder):
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_the_same_call_gives_the_same_bits(embedder):
    np.testing.assert_array_equal(embedder.embed(TEXTS), embedder.embed(TEXTS))


def test_a_text_does_not_notice_its_neighbours(embedder):
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS), alone, atol=1e-5)


def test_rows_follow_the_order_of_texts(embedder):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = embedder.embed([TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled, embedder.embed(TEXTS)[order], atol=1e-5)


def test_repeated_texts_have_equal_rows_and_others_do_not(embedder):
    vectors = embedder.embed(TEXTS)
    np.testing.assert_allclose(vectors[2], vectors[4], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_the_empty_text_has_a_vector(embedder):
    assert np.isfinite(embedder.embed(["", " "])).all()


def test_identity_is_one_stable_line_that_survives_pickling(embedder):
    copy = pickle.loads(pickle.dumps(embedder))
    assert copy.identity == embedder.identity
    assert "\n" not in embedder.identity
    np.testing.assert_allclose(copy.embed(TEXTS[:2]), embedder.embed(TEXTS[:2]), atol=1e-6)


def test_any_sequence_of_strings_will_do(embedder):
    np.testing.assert_allclose(embedder.embed(tuple(TEXTS[:2])), embedder.embed(TEXTS[:2]), atol=1e-6)
    np.testing.assert_allclose(embedder.embed(np.array(TEXTS[:2])), embedder.embed(TEXTS[:2]), atol=1e-6)


def test_a_bare_string_and_other_types_are_refused(embedder):
    with pytest.raises(ConfigError, match="single string"):
        embedder.embed("muon")
    with pytest.raises(ConfigError, match="text 1 is None"):
        embedder.embed(["muon", None])


def test_no_two_identities_are_equal(embedders):
    identities = [embedder.identity for embedder in embedders.values()]
    assert len(set(identities)) == len(identities)
