"""What to type next: command lines that work against the broker just started, found by asking its policy.

Knows clients, topics that they may use, and the syntax of three tools; does not know terminals or how a policy decides.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from mqtt_api.kinds.mqttbroker import ClientAuth, ListenerProtocol
from mqtt_api.node_settings import ListenerSettings
from mqtt_api.policy import Activity, Effect, Policy
from mqtt_api.topics import matches
from mqtt_operator.errors import UsageError
from mqtt_operator.policy.can_i import Question, Who, can_i, likely_client_id, permissions_of

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
# Stands for a wildcard level in a topic to publish to.
EXAMPLE_LEVEL = "demo"
EXAMPLE_PAYLOAD = "hello"
# Enough to find a pair in any sane folder, few enough that a folder of thousands starts at once.
CANDIDATES_MAX = 200


class Account(Struct, frozen=True, kw_only=True):
    """Somebody whose log-in we can write down. `username` empty = anonymous, without a password.

    A password is never shown: it is in `password_file`, or `password_words` say where people have it. With
    `certificate` the log-in is a certificate of theirs, with these names in it, and no password.
    """

    username: str
    password_file: Path | None = None
    password_words: str = ""
    certificate: bool = False
    certificate_cn: str = ""
    certificate_san_dns: str = ""


class Use(Struct, frozen=True, kw_only=True):
    """One thing that an account may do."""

    account: Account
    client_id: str
    topic: str
    qos: int


class Hint(Struct, frozen=True, kw_only=True):
    title: str
    lines: tuple[str, ...]


def hints(policy: Policy, accounts: Sequence[Account], listener: ListenerSettings, ca_file: Path | None) -> list[Hint]:
    """Lines for mosquitto_sub, mosquitto_pub and paho. Without a client that may do so there is no such line.

    The mosquitto programs do not speak WebSocket; behind a PROXY header nobody connects by hand.
    """
    if listener.proxy_protocol is not None:
        return []
    subscriber, publisher = _choose_pair(policy, accounts)
    found: list[Hint] = []
    if listener.protocol == ListenerProtocol.WEB_SOCKET:
        if publisher is not None:
            title = "publish in Python (paho-mqtt) over WebSocket"
            found.append(Hint(title=title, lines=_paho(publisher, listener, ca_file)))
        return found
    if subscriber is not None:
        line = f"mosquitto_sub {_mosquitto(subscriber, listener, ca_file)} -v"
        found.append(Hint(title=f"subscribe as {_name(subscriber)}", lines=(line,)))
    if publisher is not None:
        line = f"mosquitto_pub {_mosquitto(publisher, listener, ca_file)} -m {EXAMPLE_PAYLOAD}"
        found.append(Hint(title=f"publish as {_name(publisher)}", lines=(line,)))
        found.append(Hint(title="publish in Python (paho-mqtt)", lines=_paho(publisher, listener, ca_file)))
    return found


def scram_hint(accounts: Sequence[Account], listener: ListenerSettings, mechanisms: Sequence[str]) -> Hint | None:
    """How the first account with a generated password logs in by SCRAM, for which no program of ours has a line."""
    for account in accounts:
        if account.password_file is not None:
            what = f"MQTT 5, localhost:{listener.port}, authentication method {mechanisms[0]}"
            return Hint(
                title=f"log in by SCRAM as {account.username}, with MQTTX or another client of docs/scram.md "
                "(not: the mosquitto programs, paho for Python)",
                lines=(
                    f"# {what}, user name {account.username}, and as the password what this prints:",
                    f"cat {shlex.quote(str(account.password_file))}",
                ),
            )
    return None


def _choose_pair(policy: Policy, accounts: Sequence[Account]) -> tuple[Use | None, Use | None]:
    """A subscriber and a publisher that it hears, else the first of each."""
    subscribers = list(_uses(policy, accounts, Activity.SUBSCRIBE))
    publishers = list(_uses(policy, accounts, Activity.PUBLISH))
    for subscriber in subscribers:
        for publisher in publishers:
            if matches(subscriber.topic, publisher.topic) and subscriber.account != publisher.account:
                return subscriber, publisher
    return next(iter(subscribers), None), next(iter(publishers), None)


def _uses(policy: Policy, accounts: Sequence[Account], activity: Activity) -> Iterator[Use]:
    for account in accounts[:CANDIDATES_MAX]:
        for topic, qos in _candidates(policy, account, activity):
            try:
                who = Who(
                    username=account.username,
                    certificate_cn=account.certificate_cn,
                    certificate_san_dns=account.certificate_san_dns,
                )
                answer = can_i(policy, Question(who=who, activity=activity, topic=topic, qos=qos))
            except UsageError:  # a template whose value we do not know
                continue
            if answer.allowed:
                yield Use(account=account, client_id=answer.client_id, topic=topic, qos=qos)
                break


def _candidates(policy: Policy, account: Account, activity: Activity) -> Iterator[tuple[str, int]]:
    """Topics that the account's own allow rules speak of, each with a QoS they allow: 1 if they do."""
    principal = policy.principals.get(account.username)
    asked = permissions_of(policy, account.username, principal)
    for rule in (rule for permission in asked for rule in policy.permissions[permission]):
        if rule.effect is not Effect.ALLOW or rule.activity not in {activity, Activity.ALL}:
            continue
        for template in rule.topics:
            topic = _fill(policy, account, template)
            yield (_to_publish(topic) if activity is Activity.PUBLISH else topic), 1 if 1 in rule.qos else max(rule.qos)


def _fill(policy: Policy, account: Account, template: str) -> str:
    """The template with what we know of the account; what is unknown stays, and is then no valid right."""
    principal = policy.principals.get(account.username)
    if principal is None:
        return template
    client_id = likely_client_id(principal)
    values = {"clientid": client_id, "username": principal.username, "namespace": principal.namespace}
    names = {"cert.cn": account.certificate_cn, "cert.san.dns": account.certificate_san_dns}
    values |= {name: value for name, value in names.items() if value}
    values |= {f"attr.{key}": value for key, value in principal.attributes.items()}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _to_publish(topic_filter: str) -> str:
    return "/".join(EXAMPLE_LEVEL if level in {"+", "#"} else level for level in topic_filter.split("/"))


def _name(use: Use) -> str:
    return use.account.username or "anybody"


def _client_certificate(use: Use, listener: ListenerSettings) -> tuple[str, str] | None:
    """Words for the files of certificate and key, where the log-in or the listener asks for them."""
    if use.account.certificate or (listener.tls is not None and listener.tls.client_auth == ClientAuth.REQUIRED):
        whose = use.account.username or "your client"
        return f"<certificate file of {whose}>", f"<key file of {whose}>"
    return None


def _mosquitto(use: Use, listener: ListenerSettings, ca_file: Path | None) -> str:
    parts = ["-h localhost", f"-p {listener.port}"]
    if listener.tls is not None and ca_file is not None:
        parts.append(f"--cafile {shlex.quote(str(ca_file))}")
    elif listener.tls is not None:
        parts.append("--tls-use-os-certs")
    certificate = _client_certificate(use, listener)
    if certificate is not None:
        parts.append(f"--cert {shlex.quote(certificate[0])} --key {shlex.quote(certificate[1])}")
    if use.account.username and not use.account.certificate:
        parts.append(f"-u {shlex.quote(use.account.username)}")
    if use.account.password_file is not None:
        parts.append(f'-P "$(cat {shlex.quote(str(use.account.password_file))})"')
    elif use.account.password_words:
        parts.append(f"-P '<{use.account.password_words}>'")
    if use.client_id:
        parts.append(f"-i {shlex.quote(use.client_id)}")
    parts.append(f"-t {shlex.quote(use.topic)}")
    parts.append(f"-q {use.qos}")
    return " ".join(parts)


def _paho(use: Use, listener: ListenerSettings, ca_file: Path | None) -> tuple[str, ...]:
    over = ", transport='websockets'" if listener.protocol == ListenerProtocol.WEB_SOCKET else ""
    lines = [
        "import pathlib, paho.mqtt.client as mqtt",
        f"c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id={use.client_id!r}, protocol=mqtt.MQTTv5{over})",
    ]
    if over and listener.web_socket.path is not None:
        lines.append(f"c.ws_set_options(path={listener.web_socket.path!r})")
    if listener.tls is not None:
        lines.append(f"c.tls_set({_paho_tls(use, listener, ca_file)})")
    if use.account.password_file is not None:
        password = f"pathlib.Path({str(use.account.password_file)!r}).read_text()"
        lines.append(f"c.username_pw_set({use.account.username!r}, {password})")
    elif use.account.username and not use.account.certificate:
        lines.append(f"c.username_pw_set({use.account.username!r}, '<{use.account.password_words}>')")
    lines += [
        f"c.connect('localhost', {listener.port}); c.loop_start()",
        f"c.publish({use.topic!r}, {EXAMPLE_PAYLOAD!r}, qos={use.qos}).wait_for_publish()",
    ]
    return tuple(lines)


def _paho_tls(use: Use, listener: ListenerSettings, ca_file: Path | None) -> str:
    named = {} if ca_file is None else {"ca_certs": str(ca_file)}
    certificate = _client_certificate(use, listener)
    if certificate is not None:
        named |= {"certfile": certificate[0], "keyfile": certificate[1]}
    return ", ".join(f"{name}={value!r}" for name, value in named.items())
