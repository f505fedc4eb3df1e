"""What the screen and the plain lines both say about a running broker, as text.

Knows the words; does not know colours, boxes or when something is shown.
"""

import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from mqtt_api.kinds.mqttbroker import AuthenticationType, ListenerProtocol
from mqtt_api.node_settings import ListenerSettings, NodeSettings, RedisSettings
from mqtt_operator.cli.options import counted
from mqtt_operator.credentials.certificates import facts
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.hints import Account, Hint, hints, scram_hint
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.node_status import NodeStatus

ANONYMOUS = "anonymous"
# What an event's action is called where a person asks about it: a will is a publish, a delivery is half a subscription.
_ASKED_AS = {"publish": "publish", "will": "publish", "subscribe": "subscribe", "receive": "subscribe"}


class Rates(Struct, frozen=True, kw_only=True):
    """Messages per second."""

    received: float = 0.0
    sent: float = 0.0


def rates(before: NodeStatus | None, after: NodeStatus, seconds: float) -> Rates:
    """Between two looks. A node that started anew counts from 0 again: no rate then."""
    if before is None or seconds <= 0 or after.messages_received < before.messages_received:
        return Rates()
    return Rates(
        received=(after.messages_received - before.messages_received) / seconds,
        sent=max(0, after.messages_sent - before.messages_sent) / seconds,
    )


def header(deployment: Deployment) -> list[tuple[str, str]]:
    """Label and text: where the broker is, what proves it, where its data lies."""
    rows = [("listener", _listener(each)) for each in deployment.entrance]
    if len(deployment.nodes) > 1:
        rows += [("node", _node(each.settings)) for each in deployment.nodes]
    if deployment.store is not None:
        rows.append(("store", _store(deployment.store)))
    rows += [("CA", _ca(path)) for path in dict.fromkeys(deployment.listener_cas.values())]
    policy = deployment.policy
    counts = f"{counted(len(policy.principals), 'client')}, {counted(len(policy.rules), 'rule')}"
    rows += [("policy", f"revision {policy.revision}: {counts}"), ("data", shown(deployment.data.root))]
    return rows


def what_to_type(deployment: Deployment) -> list[Hint]:
    """Command lines for the listener that is easiest to reach."""
    listener = best_listener(deployment.entrance)
    ca = deployment.listener_cas.get(listener.name)
    found = hints(deployment.policy, _shown(deployment.accounts), listener, None if ca is None else Path(shown(ca)))
    for entry in deployment.chain:
        if entry.type == AuthenticationType.SCRAM:
            scram = scram_hint(_shown(deployment.password_accounts), listener, entry.mechanisms)
            found += [] if scram is None else [scram]
    return found


def _shown(accounts: list[Account]) -> list[Account]:
    return [
        msgspec.structs.replace(each, password_file=each.password_file and Path(shown(each.password_file)))
        for each in accounts
    ]


def ask_about(event: NodeEvent, folder: Path) -> str | None:
    """The `stoa can-i` line that explains a denial, or None if the event does not say enough."""
    action = _ASKED_AS.get(str(event.fields.get("action")))
    topic = event.fields.get("topic")
    if action is None or not topic:
        return None
    username, client_id = str(event.fields.get("username") or ""), str(event.fields.get("client_id") or "")
    words = [command(), "can-i", username or ANONYMOUS, action, str(topic)]
    if event.fields.get("qos"):
        words += ["--qos", str(event.fields["qos"])]
    if event.fields.get("retain") and action == "publish":
        words.append("--retain")
    if event.fields.get("group"):
        words += ["--share", str(event.fields["group"])]
    if client_id and client_id != username:
        words += ["--client-id", client_id]
    return shlex.join([*words, "-f", str(folder)])


def command() -> str:
    """How the reader can type this program: its name where the shell finds it, else its path."""
    found = shutil.which("stoa")
    mine = Path(sys.argv[0])
    return "stoa" if found is not None or mine.name != "stoa" else shown(mine.absolute())


def clock(event: NodeEvent) -> str:
    """The event's time of day in UTC, or now if it has none."""
    try:
        moment = datetime.fromisoformat(event.ts)
    except ValueError:
        moment = datetime.now(UTC)
    return f"{moment:%H:%M:%S}"


def shown(path: Path) -> str:
    """Relative to the working directory where that is shorter to type."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _listener(listener: ListenerSettings) -> str:
    if listener.tls is None:
        return f"{listener.name}  {_url(listener)}  PLAIN TEXT: anybody on the way can read and change it"
    certificate = facts(Path(listener.tls.certificate_file).read_bytes())
    clients = "" if listener.tls.client_auth == "None" else f", client certificates {listener.tls.client_auth.lower()}"
    until = f"{certificate.not_after:%Y-%m-%d}"
    return f"{listener.name}  {_url(listener)}  {listener.tls.min_version}+, valid until {until}{clients}"


def _node(settings: NodeSettings) -> str:
    ports = ", ".join(f"{each.name} {_address(each)}" for each in settings.listeners)
    return f"{settings.node}  {ports}"


def _store(store: RedisSettings) -> str:
    found = "" if store.master_name is None else f", primary {store.master_name} as these sentinels say"
    encrypted = "" if store.tls is None else ", TLS"
    return f"Redis at {', '.join(store.addresses)}{found}{encrypted}, durability {store.durability}"


def _url(listener: ListenerSettings) -> str:
    is_web = listener.protocol == ListenerProtocol.WEB_SOCKET
    scheme = ("ws" if is_web else "mqtt") + ("" if listener.tls is None else "s")
    path = (listener.web_socket.path or "") if is_web else ""
    behind = "  behind a PROXY header" if listener.proxy_protocol is not None else ""
    return f"{scheme}://{_address(listener)}{path}{behind}"


def _address(listener: ListenerSettings) -> str:
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"{host}:{listener.port}"


def _ca(path: Path) -> str:
    certificate = facts(path.read_bytes())
    return f"{shown(path)}  SHA-256 {certificate.fingerprint}, valid until {certificate.not_after:%Y-%m-%d}"
