import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from probscale.encode.cache import (
    CACHE_VARIABLE,
    CachedEmbedder,
    CacheWarning,
    EmbeddingCache,
    default_cache_folder,
    embedding_key,
)
from probscale.encode.embedders import Embedder, HashedNgramEmbedder
from probscale.errors import ConfigError, EmbeddingError

TEXTS = [f"optimizer muon, learning rate {i}" for i in range(20)]


class Recording(Embedder):
    """Hashed n-grams under a chosen name; remembers every text it was asked for."""

    def __init__(self, identity="recording", dim=16):
        self._inner = HashedNgramEmbedder(dim=dim)
        self._identity = identity
        self.seen = []

    @property
    def identity(self):
        return self._identity

    @property
    def dim(self):
        return self._inner.dim

    def embed(self, texts):
        self.seen.extend(texts)
        return self._inner.embed(texts)


class Fixed(Embedder):
    """Returns one array, whatever it is asked."""

    identity, dim = "fixed", 2

    def __init__(self, array):
        self._array = np.asarray(array)

    def embed(self, texts):
        return self._array


def segments(folder):
    return sorted(folder.glob("embeddings/*/*.segment"))


def test_vectors_come_back_bit_for_bit_without_the_embedder(tmp_path):
    first = EmbeddingCache(tmp_path).embed(HashedNgramEmbedder(), TEXTS)
    again = Recording(HashedNgramEmbedder().identity)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).embed(again, TEXTS), first)
    np.testing.assert_array_equal(first, HashedNgramEmbedder().embed(TEXTS))
    assert again.seen == []


def test_only_new_texts_reach_the_embedder_and_each_once(tmp_path):
    embedder = Recording()
    cache = EmbeddingCache(tmp_path)
    cache.embed(embedder, TEXTS[:5])
    vectors = cache.embed(embedder, TEXTS[3:8] + TEXTS[:2] + TEXTS[6:8])
    assert sorted(embedder.seen) == sorted(TEXTS[:8])
    np.testing.assert_array_equal(
        vectors, HashedNgramEmbedder(dim=16).embed(TEXTS[3:8] + TEXTS[:2] + TEXTS[6:8])
    )


def test_single_precision_vectors_take_half_the_space(tmp_path):
    texts = [f"text {i}" for i in range(200)]
    single = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    EmbeddingCache(tmp_path / "single").embed(Fixed(single), texts)
    EmbeddingCache(tmp_path / "double").embed(Fixed(single + np.float64(1e-12)), texts)
    sizes = [segments(tmp_path / name)[0].stat().st_size for name in ("single", "double")]
    assert sizes[1] - sizes[0] == 200 * 2 * 4


def test_another_identity_is_another_entry(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.embed(Recording("one"), TEXTS)
    other = Recording("two", dim=8)
    assert cache.embed(other, TEXTS).shape == (20, 8)
    assert sorted(other.seen) == sorted(TEXTS)


def test_keys_separate_identity_from_text():
    assert embedding_key("ab", "c") != embedding_key("a", "bc")
    assert len(embedding_key("model", "\ud800 lone surrogate")) == 32


@pytest.mark.parametrize("place", [0, 30, 60, 200, -1])
def test_a_flipped_bit_anywhere_is_noticed_and_the_text_embedded_again(tmp_path, place):
    expected = EmbeddingCache(tmp_path).embed(Recording(), TEXTS)
    [path] = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    again = Recording()
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).embed(again, TEXTS), expected)
    assert len(again.seen) == 20
    third = Recording()
    EmbeddingCache(tmp_path).embed(third, TEXTS)
    assert third.seen == []


@pytest.mark.parametrize("length", [0, 10, 40, 100, 1000])
def test_a_truncated_segment_is_never_trusted(tmp_path, length):
    expected = EmbeddingCache(tmp_path).embed(Recording(), TEXTS)
    [path] = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    again = Recording()
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).embed(again, TEXTS), expected)
    assert len(again.seen) == 20


def test_many_small_segments_are_merged_without_loss(tmp_path):
    embedder = Recording()
    cache = EmbeddingCache(tmp_path)
    texts = [f"run {i}" for i in range(150)]
    for text in texts:
        cache.embed(embedder, [text])
    assert len(segments(tmp_path)) < 80
    fresh = Recording()
    np.testing.assert_array_equal(
        EmbeddingCache(tmp_path).embed(fresh, texts), HashedNgramEmbedder(dim=16).embed(texts)
    )
    assert fresh.seen == []


def test_one_instance_sees_what_another_wrote(tmp_path):
    reader, writer, idle = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path), Recording()
    reader.embed(Recording(), TEXTS[:2])
    writer.embed(Recording(), TEXTS)
    reader.embed(idle, TEXTS)
    assert idle.seen == []


WRITER = """
    import sys
    from probscale.encode.cache import EmbeddingCache
    from probscale.encode.embedders import HashedNgramEmbedder
    folder, start, dim, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    cache, embedder = EmbeddingCache(folder), HashedNgramEmbedder(dim=dim)
    print("ready", flush=True)
    for i in range(rounds):
        cache.embed(embedder, [f"text {j}" for j in range(start + i, start + i + 40)])
"""


def start_writer(folder, start, dim=64, rounds=80):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(start), str(dim), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_concurrent_writers_and_a_reader_lose_nothing(tmp_path):
    writers = [start_writer(tmp_path, start) for start in (0, 10, 60)]
    for writer in writers:
        writer.stdout.readline()
    texts = [f"text {j}" for j in range(140)]
    expected = HashedNgramEmbedder(dim=64).embed(texts)
    while any(writer.poll() is None for writer in writers):
        np.testing.assert_array_equal(
            EmbeddingCache(tmp_path).embed(HashedNgramEmbedder(dim=64), texts), expected
        )
        time.sleep(0.02)
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, b"")
    idle = Recording(HashedNgramEmbedder(dim=64).identity)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).embed(idle, texts), expected)
    assert idle.seen == []
    assert list(tmp_path.rglob(".partial-*")) == []


def test_a_kill_in_mid_write_leaves_only_whole_segments(tmp_path):
    for attempt in range(3):
        writer = start_writer(tmp_path, 1000 * attempt, dim=20_000, rounds=10_000)
        writer.stdout.readline()
        while len(segments(tmp_path)) < 4 * (attempt + 1):
            time.sleep(0.005)
        writer.kill()
        writer.communicate()
    from probscale.encode.cache import Segment

    found = [Segment.from_bytes(path.read_bytes()) for path in segments(tmp_path)]
    assert len(found) >= 12
    assert None not in found
    texts = [f"text {j}" for j in range(45)]
    embedder = HashedNgramEmbedder(dim=20_000)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).embed(embedder, texts), embedder.embed(texts))


def test_a_partial_file_is_ignored_and_swept_away_when_old(tmp_path):
    import os

    EmbeddingCache(tmp_path).embed(Recording(), TEXTS)
    [path] = segments(tmp_path)
    young, old = path.with_name(".partial-young"), path.with_name(".partial-old")
    for partial in (young, old):
        partial.write_bytes(path.read_bytes()[:100])
    os.utime(old, (time.time() - 7200,) * 2)
    EmbeddingCache(tmp_path).embed(Recording(), ["something new"])
    assert young.exists()
    assert not old.exists()


def test_a_folder_that_does_not_exist_is_created(tmp_path):
    folder = tmp_path / "a" / "b"
    EmbeddingCache(folder).embed(Recording(), TEXTS)
    assert len(segments(folder)) == 1


def test_an_unusable_folder_means_memory_and_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache, embedder = EmbeddingCache(blocked), Recording()
    with pytest.warns(CacheWarning, match=CACHE_VARIABLE):
        first = cache.embed(embedder, TEXTS)
    second = cache.embed(embedder, [*TEXTS, "new"])  # a second warning would be an error
    np.testing.assert_array_equal(first, second[:20])
    assert len(embedder.seen) == 21


def test_the_folder_comes_from_the_environment_or_the_platform(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "chosen"))
    assert default_cache_folder() == EmbeddingCache().folder == tmp_path / "chosen"
    monkeypatch.delenv(CACHE_VARIABLE)
    assert default_cache_folder().name == "probscale"


def test_clearing_forgets_one_model_or_all(tmp_path):
    cache, one, two = EmbeddingCache(tmp_path), Recording("one"), Recording("two")
    for embedder in (one, two):
        cache.embed(embedder, TEXTS)
    cache.clear(one)
    for embedder in (one, two):
        cache.embed(embedder, TEXTS)
    assert (len(one.seen), len(two.seen)) == (40, 20)
    cache.clear()
    assert segments(tmp_path) == []


def test_progress_counts_new_texts(tmp_path):
    reports = []
    texts = [f"text {i}" for i in range(600)]
    cache = EmbeddingCache(tmp_path)
    cache.embed(Recording(), texts[:100])
    cache.embed(Recording(), texts, progress=lambda done, total: reports.append((done, total)))
    assert reports == [(256, 500), (500, 500)]


def test_thousands_of_cached_texts_are_read_in_half_a_second(tmp_path):
    embedder = Recording(dim=384)
    texts = [f"configuration number {i}" for i in range(3200)]
    expected = EmbeddingCache(tmp_path).embed(embedder, texts)
    start = time.perf_counter()
    vectors = EmbeddingCache(tmp_path).embed(embedder, texts)
    assert time.perf_counter() - start < 0.5
    np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("array", [np.zeros((3, 2)), np.zeros(2), np.array([[0.0, np.nan], [1.0, 1.0]])])
def test_a_misbehaving_embedder_is_named_and_nothing_is_kept(tmp_path, array):
    with pytest.raises(EmbeddingError, match="'fixed'"):
        EmbeddingCache(tmp_path).embed(Fixed(array), ["a", "b"])
    assert segments(tmp_path) == []


def test_a_cached_embedder_keeps_identity_and_width(tmp_path):
    import pickle

    cached = CachedEmbedder(HashedNgramEmbedder(dim=32), EmbeddingCache(tmp_path))
    assert (cached.identity, cached.dim) == (HashedNgramEmbedder(dim=32).identity, 32)
    assert cached.embed([]).shape == (0, 32)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cached)).embed(TEXTS), cached.embed(TEXTS))
    with pytest.raises(ConfigError, match="single string"):
        cached.embed("muon")
