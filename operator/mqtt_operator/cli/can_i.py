"""`stoa can-i`: may this client do that, which rule says so, and how it was found."""

from pathlib import Path

import click

from mqtt_api.policy import Activity
from mqtt_operator.cli.few_mistakes import few_mistakes
from mqtt_operator.cli.options import EXIT_DENIED, FOLDER
from mqtt_operator.local.ask import Asked, ask
from mqtt_operator.local.folder import read_broker
from mqtt_operator.policy.can_i import Answer

NO_RULE = "none"
# A plant may have hundreds of permissions that are for others.
OTHERS_SHOWN_MAX = 10


@click.command("can-i")
@click.argument("client")
@click.argument("action", type=click.Choice(["publish", "subscribe"]))
@click.argument("topic")
@click.option("--qos", type=click.IntRange(0, 2), default=0, show_default=True, help="Quality of service.")
@click.option("--retain", is_flag=True, help="Publish as a retained message.")
@click.option("--share", "group", metavar="GROUP", help="Subscribe in this shared group.")
@click.option("--client-id", metavar="ID", help="With this MQTT client id. [default: one that the client may use]")
@click.option("-f", "--folder", type=FOLDER, default=Path(), help="Folder of YAML files. [default: here]")
@click.pass_context
def command(
    ctx: click.Context,
    client: str,
    action: str,
    topic: str,
    qos: int,
    retain: bool,
    group: str | None,
    client_id: str | None,
    folder: Path,
) -> None:
    """Ask whether CLIENT may publish or subscribe to TOPIC: exit code 0 if it may, 3 if not.

    CLIENT is the name or user name of an MQTTClient, or "anonymous".
    """
    asked = Asked(
        client=client,
        activity=Activity.PUBLISH if action == "publish" else Activity.SUBSCRIBE,
        topic=topic,
        qos=qos,
        retain=retain,
        group=group,
        client_id=client_id,
    )
    with few_mistakes("with -f"):
        declared = read_broker(folder)
    answer = ask(declared, asked)
    for line in answer_lines(asked, answer):
        click.echo(line, color=ctx.color)
    if not answer.allowed:
        ctx.exit(EXIT_DENIED)


def answer_lines(asked: Asked, answer: Answer) -> list[str]:
    """The answer in words: the decision, the rule that made it, and what came of every rule."""
    word, colour = ("allowed", "green") if answer.allowed else ("DENIED", "red")
    verdict = click.style(word, fg=colour, bold=True)
    lines = [
        f"{verdict}: {_question(asked)}",
        f"  rule:      {answer.rule or NO_RULE}",
        f"  reason:    {answer.reason}",
        f"  client id: {answer.client_id or NO_RULE}",
    ]
    if answer.walk:
        width = max(len(step.rule) for step in answer.walk)
        lines.append("  walk:")
        lines += [f"    {step.rule:<{width}}  {step.outcome}" for step in answer.walk]
    if answer.walk or answer.others:
        lines += [] if answer.walk else ["  walk:"]
        lines += [f"    {each} is for other subjects" for each in answer.others[:OTHERS_SHOWN_MAX]]
        more = len(answer.others) - OTHERS_SHOWN_MAX
        lines += [f"    ... and {more} more are"] if more > 0 else []
    return lines


def _question(asked: Asked) -> str:
    details = [f"QoS {asked.qos}"]
    if asked.retain:
        details.append("retained")
    if asked.group is not None:
        details.append(f"shared group {asked.group}")
    return f"{asked.client} {asked.activity.lower()} {asked.topic} ({', '.join(details)})"
