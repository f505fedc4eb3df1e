"""The `stoa` command: finds the subcommand, and turns what went wrong into a sentence and an exit code.

Knows exit codes (0 ok, 1 failed, 2 usage, 3 denied); does not know what any subcommand does. Subcommands are imported
when they are asked for, so that `stoa version` does not wait for a web client.
"""

import difflib
import importlib
import os
from typing import Any

import click

from mqtt_operator.cli.options import EXIT_FAILED, EXIT_USAGE
from mqtt_operator.errors import ExpectedError, UsageError

NEAR_MIN = 0.75  # of the letters of two words, as many are the same

COMMANDS = {
    "up": "mqtt_operator.cli.up",
    "nodes": "mqtt_operator.cli.nodes",
    "drain": "mqtt_operator.cli.drain",
    "validate": "mqtt_operator.cli.validate",
    "can-i": "mqtt_operator.cli.can_i",
    "crds": "mqtt_operator.cli.crds",
    "version": "mqtt_operator.cli.version",
}


class StoaGroup(click.Group):
    """Loads each subcommand from its own module, where it is called `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            near = [each for each in error.possibilities or () if _is_near(each, error.option_name)]
            raise click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx) from error
        except ExpectedError as error:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True, color=ctx.color)
            ctx.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)


def _is_near(option: str, written: str) -> bool:
    """One is a slip of the other: the dashes that all have in common say nothing."""
    matcher = difflib.SequenceMatcher(None, option.lstrip("-"), written.lstrip("-"))
    return matcher.ratio() >= NEAR_MIN


@click.group(cls=StoaGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def stoa(ctx: click.Context) -> None:
    """A secure MQTT broker, declared as Kubernetes objects.

    Every subcommand reads the same YAML that `kubectl apply` does: MQTTBroker, MQTTClient and TopicPermission, and the
    Secrets and ConfigMaps they name.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """The entry point of the `stoa` script."""
    stoa(prog_name="stoa")


if __name__ == "__main__":
    main()
