"""Reading files of a user's clone: what a damaged one says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from probscale.errors import ProbscaleError, RunLogError

_POINTER = b"version https://git-lfs"


@contextmanager
def reading(file: Path) -> Iterator[Path]:
    """While a file is read, whatever goes wrong names it, and says how to get it back.

    Raises:
        RunLogError: if the file is not as upstream has it.
    """
    try:
        yield file
    except ProbscaleError:
        raise
    # Each format reports damage in its own way; the user needs the file's name in every case.
    except Exception as error:
        raise RunLogError(
            f"{str(file)!r} is not as its repository has it ({_reason(file, error)}); restore it with "
            f"{'git lfs pull' if _is_pointer(file) else 'git checkout'} in the clone, or clone it again",
            path=str(file),
        ) from error


def _is_pointer(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as content:
        return content.read(len(_POINTER)) == _POINTER
    return False


def _reason(file: Path, error: Exception) -> str:
    if _is_pointer(file):
        return "a Git LFS pointer in place of the content"
    if isinstance(error, KeyError):
        return f"not found: {str(error.args[0])[:120]}"
    return " ".join(str(error).split())[:200] or type(error).__name__
