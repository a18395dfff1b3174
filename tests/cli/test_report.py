"""`probscale report`: a page from a fitted surrogate, and readable refusals."""

import pytest


def test_report_writes_a_page_with_the_user_s_words(home, invoke, tmp_path):
    out = tmp_path / "page.html"
    given = ["--embedder", "none", "--title", "My runs", "--output-unit", "nats", "--total", "1e17"]
    result = invoke("report", home / "s.safetensors", *given, "-o", out, "--pool", home / "pool.csv")
    assert result.exit_code == 0, result.output
    assert f"wrote {out} (" in result.output
    text = out.read_text(encoding="utf-8")
    assert "<h1>My runs</h1>" in text
    assert "(nats)" in text
    assert "Suppose 10¹⁷ FLOPs to spend." in text


@pytest.mark.slow
def test_costs_of_the_command_line_reach_the_page(home, invoke, tmp_path):
    out = tmp_path / "page.html"
    given = ["--embedder", "none", "--flops-per-second", "1e12"]
    assert invoke("report", home / "s.safetensors", *given, "-o", out, "-q").exit_code == 0
    assert "compute (seconds)" in out.read_text(encoding="utf-8")


def test_a_file_that_is_no_page_is_refused_before_any_work(home, invoke, refused, roles, tmp_path):
    result = invoke("report", home / "runs.csv", *roles, "-o", tmp_path / "page.pdf")
    refused(result, "cannot write 'page.pdf'", ".html")


def test_a_log_needs_its_roles(home, invoke, refused, tmp_path):
    refused(invoke("report", home / "runs.csv", "-o", tmp_path / "p.html"), "a log needs its roles", "--run")


def test_a_budget_that_is_none_is_refused_before_any_work(home, invoke, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("probscale.report.write.subject_of", lambda *_, **__: 1 / 0)
    asked = ("--total", "-1", "-o", tmp_path / "p.html")
    refused(invoke("report", home / "s.safetensors", *asked), "total is -1", "positive")
