"""One self-contained page about a log of runs: what was read, learnt, trusted, and what to run next."""

from probscale.report.write import check_page, write_report

__all__ = ["check_page", "write_report"]
