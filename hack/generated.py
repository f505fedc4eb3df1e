"""Files that are made from what stands elsewhere: written, or with --check compared and named where they are stale.

Knows files and texts; does not know how a text comes about.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What every generator takes. `about`: its docstring, of which people are shown the first line."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    return parser


def settle(files: Iterable[tuple[Path, str]], *, check: bool) -> int:
    """The exit code: 1 if `check` is set and a file has not the text beside it; else all of them have it now."""
    stale = []
    for path, text in files:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(("stale: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0
