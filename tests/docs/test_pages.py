"""The pages do what they say: their code runs in order, and prints what they show.

`python tests/docs/test_pages.py docs/howto/forecast.md ...` rewrites what the pages show.
"""

import contextlib
import doctest
import io
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?P<skip>^% (?:not run: |run by )[^\n]*\n)?^```(?P<language>python|pycon)\n(?P<code>.*?)^```$(?:\n\n^```text\n(?P<shown>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if "_build" not in page.parts and any(not b["skip"] for b in BLOCK.finditer(page.read_text("utf-8")))
)
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def run_block(block, names):
    """What a block prints; doctest-like blocks are compared on the spot."""
    if block["language"] == "pycon":
        example = doctest.DocTestParser().get_doctest(block["code"], names, f"block-{block.start()}", None, 0)
        said = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed = runner.run(example, out=said.write, clear_globs=False).failed
        assert not failed, said.getvalue()
        names.update(example.globs)
        return None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block["code"], "page", "exec"), names)
    return said.getvalue()


def same(shown, said):
    """Equal words, and numbers within a third: fits differ a little between machines."""
    if NUMBER.sub("", shown).split() != NUMBER.sub("", said).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(said), strict=False)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return all(a == pytest.approx(b, rel=0.34, abs=0.02) for a, b in values)


def blocks_of(page):
    return [block for block in BLOCK.finditer(page.read_text("utf-8")) if not block["skip"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with what the pages name: the bundled runs, thinned so that fits are quick."""
    from probscale.runs.bundled import bundled_path

    table = pd.read_csv(bundled_path())
    table = table[table.groupby("run_id").cumcount() % 8 == 7]
    (tmp_path / "datasets" / "stdlib_gpt").mkdir(parents=True)
    table.to_csv(tmp_path / "datasets" / "stdlib_gpt" / "curves.csv.gz", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mpl, "rcParams", mpl.rcParams.copy())
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_of_the_page_runs_and_prints_what_is_shown(page, folder):
    names = {"__name__": "__page__"}
    for block in blocks_of(page):
        said = run_block(block, names)
        if block["shown"] is not None:
            assert same(block["shown"], said), said


def test_local_links_lead_somewhere():
    for page in [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8")):
            home = page.parent / target
            assert home.exists() or "notebooks/" in target, f"{page.name}: {target}"


def test_every_page_of_results_is_listed_with_its_question():
    listed = set(re.findall(r"/results/(\w+)`", (DOCS / "benchmarks.md").read_text("utf-8")))
    written = {page.stem for page in (DOCS.parent / "benchmarks" / "results").glob("*.md")}
    assert listed == written


def rewrite(page):
    """Run a page and put what it prints where the page shows output."""
    names, text, out, position = {"__name__": "__page__"}, page.read_text("utf-8"), [], 0
    for block in BLOCK.finditer(text):
        if block["skip"]:
            continue
        said = run_block(block, names)
        if block["shown"] is not None:
            out += [text[position : block.start("shown")], said]
            position = block.end("shown")
    page.write_text("".join([*out, text[position:]]), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    mpl.use("agg")
    pages = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "datasets").symlink_to(ROOT / "datasets")
        os.chdir(work)
        for one in pages:
            rewrite(one)
