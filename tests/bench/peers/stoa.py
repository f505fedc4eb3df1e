"""This broker: one node as an operator starts it, with its store on disk."""

import dataclasses
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from bench.peers.base import Peer, Running, ports, spawn
from bench.world import CLIENT_IDS, HOST, OTHER_USERS, OWN, PASSWORD, READABLE, USERNAME, World, other_user
from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings, NodeSettings, TLSSettings
from mqtt_api.policy import Activity, Effect, Policy, Principal, Rule, encode_policy
from support.broker import write
from support.policies import verifier


@dataclasses.dataclass
class Node(Running):
    """A running node, and the policy it follows."""

    policy_file: Path = Path()
    revision: int = 1

    def rewrite_policy(self) -> bool:
        self.revision += 1
        write(self.policy_file, encode_policy(policy(self.revision)))
        return True


class Stoa(Peer):
    name = "stoa"
    title = "Stoa"

    def install(self) -> None:
        """It is the tree itself."""

    def installed(self) -> bool:
        return True

    def version(self) -> str:
        try:
            return version("stoa-mqtt")
        except PackageNotFoundError:
            return "this tree"

    def conditions(self) -> str:
        return "defaults, SQLite store on disk, Argon2id verifiers with the smallest parameters (m=8 KiB, t=1)"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        port, tls_port = ports()
        policy_file = folder / "policy.json"
        write(policy_file, encode_policy(policy(1)))
        settings_file = folder / "settings.json"
        settings_file.write_bytes(msgspec.json.encode(settings(folder, world, port, tls_port, policy_file)))
        process, log = spawn([sys.executable, "-m", "mqtt_broker", "--settings", settings_file], folder, core)
        node = Node(world, process.pid, port, tls_port, log, process, policy_file=policy_file)
        node.await_answer()
        return node


def settings(folder: Path, world: World, port: int, tls_port: int, policy_file: Path) -> NodeSettings:
    tls = TLSSettings(
        certificate_file=str(world.server.certificate_file), key_file=str(world.server.key_file), min_version="TLS1.3"
    )
    return NodeSettings(
        node="node-0",
        broker="bench/broker",
        world="bench",
        store=f"sqlite:{folder / 'store.db'}",
        policy_file=str(policy_file),
        admin_socket=str(folder / "admin.sock"),
        listeners=(
            ListenerSettings(name="plain", host=HOST, port=port),
            ListenerSettings(name="tls", host=HOST, port=tls_port, tls=tls),
        ),
        authentication=(AuthenticationSettings(name="passwords", type="Password"),),
    )


def policy(revision: int) -> Policy:
    """The load account and many others; every revision changes what one of the others may do."""
    own = _rule("load", "own", Activity.PUBLISH, OWN.format(client="${clientid}"))
    read = _rule("load", "read", Activity.SUBSCRIBE, *READABLE)
    permissions: dict[str, tuple[Rule, ...]] = {own.permission: (own, read)}
    load = Principal(
        username=USERNAME, client_ids=(CLIENT_IDS,), passwords=(verifier(PASSWORD),), permissions=(own.permission,)
    )
    principals = {USERNAME: load}
    for number in range(OTHER_USERS):
        name = other_user(number)
        topic = f"site/{name}/{revision if number == revision % OTHER_USERS else 0}/#"
        rule = _rule(name, "own", Activity.ALL, topic)
        permissions[rule.permission] = (rule,)
        principals[name] = Principal(username=name, permissions=(rule.permission,))
    return Policy(revision=revision, digest=f"bench-{revision}", permissions=permissions, principals=principals)


def _rule(permission: str, name: str, activity: Activity, *topics: str) -> Rule:
    return Rule(permission=f"bench/{permission}", name=name, effect=Effect.ALLOW, activity=activity, topics=topics)
