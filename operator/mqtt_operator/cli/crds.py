"""`stoa crds`: the CustomResourceDefinitions, for `kubectl apply --server-side -f -`."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

import mqtt_api
from mqtt_operator.errors import ExpectedError


def crd_files() -> list[Traversable]:
    """The YAML files, by name: in the package when installed, beside it in a source tree.

    Raises ExpectedError if the installation has none.
    """
    for folder in _places():
        if folder.is_dir():
            found = sorted(
                (each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name
            )
            if found:
                return found
    raise ExpectedError("This installation holds no CRDs.", to_do="Install the package stoa-mqtt again.")


def _places() -> Iterator[Traversable]:
    yield files("mqtt_api") / "crds"
    for folder in mqtt_api.__path__:
        yield Path(folder).parent


@click.command("crds")
def command() -> None:
    """Print the CustomResourceDefinitions.

    To install them: stoa crds | kubectl apply --server-side -f -
    """
    click.echo("---\n".join(f"{each.read_text('utf-8').rstrip()}\n" for each in crd_files()), nl=False)
