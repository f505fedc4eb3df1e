"""`stoa validate`: every mistake in a folder at once, by file, line and field."""

from pathlib import Path

import click

from mqtt_operator.cli.options import FOLDER, counted
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.folder import read_folder


@click.command("validate")
@click.argument("folder", type=FOLDER)
def command(folder: Path) -> None:
    """Check the YAML files below FOLDER; exit code 1 if there is a mistake."""
    objects = read_folder(folder)
    if not (objects.brokers or objects.clients or objects.permissions):
        raise ExpectedError(
            "There is nothing to check: no MQTTBroker, MQTTClient or TopicPermission.",
            where=f"folder: {folder}",
            to_do="Name the folder that holds their YAML files.",
        )
    for note in objects.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"ok: {counted(len(objects.brokers), 'broker')}, {counted(len(objects.clients), 'client')}, "
        f"{counted(len(objects.permissions), 'permission')}"
    )
