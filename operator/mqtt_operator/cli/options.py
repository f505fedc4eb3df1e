"""What several subcommands share: exit codes, kinds of argument, small words.

Knows click; does not know any subcommand.
"""

from pathlib import Path
from typing import Any

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DENIED = 3

FOLDER_WITHOUT_DATA = click.Path(file_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, readable=True, path_type=Path)


class Count(click.IntRange):
    """A whole number from 1 on, refused in words that say so."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            return self.fail(f"{value!r} must be a whole number, 1 or more.", param, ctx)


def counted(count: int, thing: str) -> str:
    """`1 client`, `2 clients`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
