"""Tables and numbers as people read them on a terminal, and as programs read them from a file."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20


def number(value: Any) -> str:
    """Four significant digits; words as they are."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and abs(value) < 1e6:
        return str(value)
    return f"{value:.4g}"


def shown(table: pd.DataFrame, *, rows: int = MOST_ROWS) -> str:
    """A table in columns; a long one is thinned evenly, its first and last rows kept."""
    from probscale.runs.thinning import evenly

    left_out = len(table) - rows
    part = table
    if left_out > 0:
        part = table.iloc[evenly(len(table), rows)]
    cells = [[str(name) for name in part]]
    cells += [[number(_plain(value)) for value in row] for row in part.itertuples(index=False)]
    lines = [columns(cells, window())]
    if left_out > 0:
        lines.append(f"({len(part)} of {len(table)} rows; all are in the file)")
    return "\n".join(lines)


def columns(cells: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows of words below each other, set to the right; what no window of `width` takes begins anew below.

    Args:
        cells: Rows, the names of the columns first.
        width: Characters a line may have; None for any number.
    """
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    blocks, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        # Each block begins with the first column, which says what its rows are.
        if width is not None and used + 2 + widths[column] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(column)
        used += 2 + widths[column]
    parts = (
        "\n".join("  ".join(row[c].rjust(widths[c]) for c in block) for row in cells) for block in blocks
    )
    return "\n\n".join(parts)


def window() -> int | None:
    """Characters in a line of the terminal; None where the output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write values as JSON; what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_json(values), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as mappings."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _json(value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
