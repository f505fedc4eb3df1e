"""What several subcommands share: exit codes, kinds of argument, small words.

Knows click; does not know any subcommand.
"""

from pathlib import Path

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DENIED = 3

FOLDER = click.Path(exists=True, file_okay=False, readable=True, path_type=Path)


def counted(count: int, thing: str) -> str:
    """`1 client`, `2 clients`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
