"""`stoa version`: which release this is."""

import platform
from importlib.metadata import PackageNotFoundError, version

import click

DISTRIBUTION = "stoa-mqtt"


def release() -> str:
    """The version of the installed distribution; a source tree on PYTHONPATH has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unreleased"


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"stoa {release()} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
