"""`stoa validate`: every mistake in files at once, by file, line and field."""

from pathlib import Path

import click

from mqtt_operator.cli.options import counted
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.folder import read_for_kubernetes

PLACE = click.Path(exists=True, path_type=Path)


@click.command("validate")
@click.argument("places", metavar="PATH...", nargs=-1, required=True, type=PLACE)
@click.option("--strict", is_flag=True, help="What the files refer to must be in them, as `stoa up` needs it.")
def command(places: tuple[Path, ...], strict: bool) -> None:
    """Check MQTTBrokers, MQTTClients and TopicPermissions before they are applied.

    PATH is a YAML file, or a folder: then it means all YAML files below it. They are checked as one whole: each field,
    each rule between fields, and what one object says about another.

    A Secret, ConfigMap, broker or client that is named and not in the files is a note, for it may be in Kubernetes;
    with --strict it is a mistake. Objects of other kinds are not checked.

    Exit code 0: no mistake, notes or not. 1: mistakes, or nothing to check. 2: no such file or option.
    """
    objects = read_for_kubernetes(places, is_strict=strict)
    if not (objects.brokers or objects.clients or objects.permissions):
        raise ExpectedError(
            "There is nothing to check: no MQTTBroker, MQTTClient or TopicPermission.",
            where="\n  ".join(map(str, places)),
            to_do="Name the files that declare them, or their folder.",
        )
    for note in objects.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"ok: {counted(len(objects.brokers), 'broker')}, {counted(len(objects.clients), 'client')}, "
        f"{counted(len(objects.permissions), 'permission')}"
    )
