"""Surrogates on disk: the same answers after loading, in this process and in another, and no pickle."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import probscale as ps
from probscale.errors import ConfigError, EmbeddingError, ProbscaleError
from tolerances import EXACT


@pytest.fixture
def file(surrogate, tmp_path):
    surrogate.save(tmp_path / "s.safetensors")
    return tmp_path / "s.safetensors"


def test_predictions_survive_a_round_trip(surrogate, file, new):
    loaded = ps.load_surrogate(file)
    one, two = (s.predict(new.configs, new.at) for s in (surrogate, loaded))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)
    np.testing.assert_allclose(one.sample(3, seed=1), two.sample(3, seed=1), rtol=1e-8)
    assert loaded.log.equals(surrogate.log)
    assert loaded.report == surrogate.report


def test_the_device_of_a_loaded_surrogate_is_that_asked_for(file, new):
    loaded = ps.load_surrogate(file, device="cpu")
    plain = ps.load_surrogate(file)
    np.testing.assert_array_equal(
        loaded.predict(new.configs, new.at).mean, plain.predict(new.configs, new.at).mean
    )
    with pytest.raises(ConfigError, match="abacus"):
        ps.load_surrogate(file, device="abacus")


def test_a_loaded_surrogate_can_go_on_learning(surrogate, file, log, new):
    frame = log.to_frame().drop(columns="diverged").head(8).assign(run="replicate")
    more = ps.RunLog.from_frame(frame, **log.roles.arguments())
    one, two = (s.condition(more).predict(new.configs, new.at) for s in (surrogate, ps.load_surrogate(file)))
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-10)


def test_what_was_conditioned_survives_to_the_last_digit_of_its_draws(surrogate, log, new, tmp_path):
    frame = log.to_frame().drop(columns="diverged")
    for part, name in enumerate(("one more", "another")):
        piece = frame.iloc[8 * part : 8 * part + 8].assign(run=name)
        surrogate = surrogate.condition(ps.RunLog.from_frame(piece, **log.roles.arguments()))
    surrogate.save(tmp_path / "more.safetensors")
    loaded = ps.load_surrogate(tmp_path / "more.safetensors")
    one, two = (s.predict(new.configs, new.at) for s in (surrogate, loaded))
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)
    np.testing.assert_allclose(one.sample(3, seed=1), two.sample(3, seed=1), rtol=1e-11)


def test_another_process_gives_the_same_numbers(surrogate, file, new):
    file.with_suffix(".json").write_text(json.dumps(new.configs.to_dict(orient="records")))
    code = (
        "import json, sys, probscale as ps\n"
        "configs = json.load(open(sys.argv[2]))\n"
        "curves = ps.load_surrogate(sys.argv[1]).predict(configs, json.loads(sys.argv[3]))\n"
        "print(json.dumps([v.hex() for v in curves.mean.ravel()]))"
    )
    arguments = [str(file), str(file.with_suffix(".json")), json.dumps(list(new.at))]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    found = [float.fromhex(v) for v in json.loads(done.stdout)]
    np.testing.assert_allclose(found, surrogate.predict(new.configs, new.at).mean.ravel(), rtol=1e-10)


def test_the_file_is_tensors_and_json(file):
    with safe_open(file, framework="np") as data:
        header = json.loads(data.metadata()["probscale"])
    assert header["format"].startswith("probscale-surrogate/")
    assert header["roles"]["axis"] == "tokens"


def test_a_folder_in_place_of_a_file_is_refused_with_a_path_that_would_do(surrogate, tmp_path):
    with pytest.raises(ConfigError, match=r"is a folder; give the path of a file.*surrogate\.safetensors"):
        surrogate.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces_the_file_whole(surrogate, file):
    before = file.read_bytes()
    surrogate.save(file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_text_survives_with_its_language_model(texts, tmp_path):
    model = ps.fit_surrogate(texts)
    model.save(tmp_path / "t.safetensors")
    loaded = ps.load_surrogate(tmp_path / "t.safetensors")
    ask = [{"optimizer": "adafactor", "lr": 2e-3}, {"optimizer": "muon", "lr": 2e-3, "warmup": 100}]
    np.testing.assert_allclose(loaded.predict(ask, [3e8]).mean, model.predict(ask, [3e8]).mean, rtol=1e-10)
    with pytest.raises(EmbeddingError, match="pass embedder="):
        ps.load_surrogate(tmp_path / "t.safetensors", embedder=None)


def test_what_is_no_surrogate_is_refused_in_words(tmp_path):
    (tmp_path / "junk").write_bytes(b"not a surrogate")
    with pytest.raises(ProbscaleError, match="junk"):
        ps.load_surrogate(tmp_path / "junk")
    with pytest.raises((ProbscaleError, FileNotFoundError), match="gone"):
        ps.load_surrogate(tmp_path / "gone")


@pytest.mark.parametrize("format", ["probscale-surrogate/1", "now"])
def test_files_of_other_versions_are_refused_in_words(file, format):
    with safe_open(file, framework="np") as data:
        header = json.loads(data.metadata()["probscale"])
        tensors = {key: data.get_tensor(key) for key in data.keys()}  # noqa: SIM118
    for expert in header["experts"].values():
        del expert["weights"]
    header["format"] = header["format"] if format == "now" else format
    save_file(tensors, file, metadata={"probscale": json.dumps(header)})
    with pytest.raises(ConfigError, match=r"s\.safetensors' .*Fit again with"):
        ps.load_surrogate(file)


def test_files_whose_arrays_no_longer_fit_are_refused_in_words(file):
    with safe_open(file, framework="np") as data:
        metadata = data.metadata()
        arrays = {key: data.get_tensor(key) for key in data.keys()}  # noqa: SIM118
    key = max((key for key in arrays if "parameter" in key or "/kernel" in key), key=len)
    save_file(arrays | {key: np.ones((7, 5, 3))}, file, metadata=metadata)
    with pytest.raises(ConfigError, match="development version"):
        ps.load_surrogate(file)


@pytest.mark.parametrize("content", [b"", b"run,tokens,loss\n", b"\x08" + 7 * b"\0" + b"{}      "], ids=repr)
def test_a_file_of_another_kind_is_refused_by_its_path(content, tmp_path):
    (tmp_path / "runs.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"runs\.csv' is not a saved surrogate; pass what"):
        ps.load_surrogate(tmp_path / "runs.csv")


@pytest.mark.parametrize("header", ["{}", "[]"])
def test_a_header_without_a_format_is_that_of_another_version(header, tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "s.safetensors", metadata={"probscale": header})
    with pytest.raises(ConfigError, match=r"s\.safetensors' has format None; this version reads"):
        ps.load_surrogate(tmp_path / "s.safetensors")


@pytest.mark.parametrize("header", ["3", "[1]", "not JSON"])
def test_a_header_that_is_none_is_refused(header, tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "s.safetensors", metadata={"probscale": header})
    with pytest.raises(ConfigError, match="is not a saved surrogate"):
        ps.load_surrogate(tmp_path / "s.safetensors")


def test_others_may_read_a_saved_surrogate_where_the_umask_lets_them(file):
    plain = file.with_name("plain")
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []
