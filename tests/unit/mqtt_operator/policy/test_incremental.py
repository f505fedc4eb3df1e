"""The compiler that follows changes: at any time the same document, byte for byte, as one made from scratch."""

from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mqtt_api.policy import Effect, Policy, Purge, ScramMechanism, decode_policy
from mqtt_api.policy_lines import lines_of
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_api.scram import SALT_KEY_BYTES
from mqtt_operator.credentials.scram import make_verifier
from mqtt_operator.policy.attachment import is_attached
from mqtt_operator.policy.compile import Proof, compile_policy
from mqtt_operator.policy.facts import Finding
from mqtt_operator.policy.incremental import Compiler

API_VERSION = "mqtt.stoa.dev/v1alpha1"
KEY = bytes(SALT_KEY_BYTES)
SCRAM = make_verifier(KEY, ScramMechanism.SHA_256, "a", b"secret")
NAMES = st.sampled_from(["a", "b", "c", "d", "e0", "e1", "e2", "user-00000", "zz"])
LABELS = st.dictionaries(st.sampled_from(["line", "site"]), st.sampled_from(["1", "2"]))
SELECTED = st.dictionaries(st.sampled_from(["line", "site"]), st.sampled_from(["1", "2"]), min_size=1)
GROUPS = st.lists(st.sampled_from(["g", "h"]), unique=True)
PROOFS = st.sampled_from([Proof(), Proof(passwords=("v1",)), Proof(passwords=("v1", "v2"), scram=(SCRAM,))])
SUBJECTS = st.lists(
    st.one_of(
        st.builds(lambda name: {"kind": "MQTTClient", "name": name}, NAMES),
        st.builds(lambda labels: {"kind": "MQTTClient", "selector": {"matchLabels": labels}}, SELECTED),
        st.builds(lambda group: {"kind": "Group", "name": group}, st.sampled_from(["g", "h"])),
        st.sampled_from([{"kind": "Authenticated"}, {"kind": "Anonymous"}]),
    ),
    min_size=1,
    max_size=3,
)
NAMESPACES = st.sampled_from(["mqtt", "mqtt", "line"])
"""The broker's own, and one that is attached to it."""
RULES = st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, unique=True)


def parsed(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Any:
    spec = {"brokerRef": {"name": "plant", "namespace": "mqtt"}, **spec} if kind != "MQTTBroker" else spec
    metadata = {"name": name, "namespace": "mqtt", **metadata}
    return parse_document({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})


def broker(default: str = "Deny") -> MQTTBroker:
    made = parsed(
        "MQTTBroker",
        "plant",
        {
            "sessionStore": {"embedded": {}},
            "authentication": [{"name": "passwords", "type": "Password"}],
            "listeners": [{"name": "mqtts", "port": 8883, "tls": {}}],
            "authorization": {"defaultPolicy": default},
            "attachments": [
                {
                    "namespaces": {"names": ["line"]},
                    "topics": ["one", "two"],
                    "clientIDPrefix": "e",
                    "usernamePrefix": "e",
                }
            ],
        },
    )
    assert isinstance(made, MQTTBroker)
    return made


class Changes(RuleBasedStateMachine):
    """Objects come, change and go in any order; drafts are made in between or not."""

    @initialize()
    def begin(self) -> None:
        self.compiler = Compiler({"a": "uid-mqtt-b", "e1": "uid-line-e0"})
        self.clients: dict[str, MQTTClient] = {}
        self.permissions: dict[str, TopicPermission] = {}
        self.proofs: dict[str, Proof] = {}
        self.frame: tuple[str, bytes, dict[str, Purge]] = ("Deny", b"", {})
        self.holders = {"a": "uid-mqtt-b", "e1": "uid-line-e0"}
        self.is_drafted = True

    @rule(
        name=NAMES,
        namespace=NAMESPACES,
        username=st.none() | NAMES,
        labels=LABELS,
        groups=GROUPS,
        proof=PROOFS,
        suspended=st.booleans(),
    )
    def put_client(
        self,
        name: str,
        namespace: str,
        username: str | None,
        labels: dict[str, str],
        groups: list[str],
        proof: Proof,
        suspended: bool,
    ) -> None:
        spec = {"groups": groups, "suspended": suspended, **({"username": username} if username else {})}
        metadata = {"namespace": namespace, "labels": labels, "uid": f"uid-{namespace}-{name}"}
        client: MQTTClient = parsed("MQTTClient", name, spec, **metadata)
        if not is_attached(broker(), client):
            return self.drop_client(name, namespace)
        self.clients[client.reference], self.proofs[client.reference] = client, proof
        return self.compiler.put_client(client, proof)

    @rule(name=NAMES, namespace=NAMESPACES)
    def drop_client(self, name: str, namespace: str) -> None:
        self.clients.pop(f"{namespace}/{name}", None)
        self.compiler.drop_client(f"{namespace}/{name}")

    @rule(name=NAMES, namespace=NAMESPACES, subjects=SUBJECTS, rules=RULES, priority=st.integers(0, 1))
    def put_permission(self, name: str, namespace: str, subjects: list[Any], rules: list[str], priority: int) -> None:
        written = [{"name": each, "effect": "Allow", "activity": "All", "topics": [each]} for each in rules]
        spec = {"subjects": subjects, "rules": written, "priority": priority}
        permission: TopicPermission = parsed("TopicPermission", name, spec, namespace=namespace)
        if not is_attached(broker(), permission):
            return self.drop_permission(name, namespace)
        self.permissions[permission.reference] = permission
        return self.compiler.put_permission(permission)

    @rule(name=NAMES, namespace=NAMESPACES)
    def drop_permission(self, name: str, namespace: str) -> None:
        self.permissions.pop(f"{namespace}/{name}", None)
        self.compiler.drop_permission(f"{namespace}/{name}")

    @rule(
        default=st.sampled_from(["Allow", "Deny"]),
        purges=st.dictionaries(NAMES, st.builds(Purge, due_at=st.integers(0, 9)), max_size=2),
    )
    def set_frame(self, default: str, purges: dict[str, Purge]) -> None:
        self.frame = (default, KEY, purges)
        self.compiler.set_frame(Effect(default), KEY, purges)

    @rule()
    def draft(self) -> None:
        expected = compile_policy(
            broker(self.frame[0]),
            self.clients.values(),
            self.permissions.values(),
            self.proofs,
            7,
            salt_key=self.frame[1],
            holders=self.holders,
            purges=self.frame[2],
        )
        draft = self.compiler.draft()
        assert [each.line for each in draft.at(7)] == lines_of(expected)
        assert draft.digest == expected.digest
        self.holders = {username: each.uid for username, each in expected.principals.items()}
        for username in {client.username for client in self.clients.values()}:
            held = self.compiler.holder_of(username)
            assert (held and held.metadata.uid) == self.holders.get(username)

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "compiler"):
            return
        for reference, permission in self.permissions.items():
            policy = compile_policy(broker(), [*_renamed(self.clients)], [permission], {}, 0, holders={})
            meant = sum(reference in each.permissions for each in policy.principals.values())
            everybody = len(self.clients) if reference in policy.authenticated else meant
            assert self.compiler.matched(reference) == everybody


def _renamed(clients: Mapping[str, MQTTClient]) -> list[MQTTClient]:
    """With user names that nobody else claims."""
    return [
        client.model_copy(
            update={"spec": client.spec.model_copy(update={"username": f"{client.username[:1]}{number}"})}
        )
        for number, client in enumerate(clients.values())
    ]


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_change_makes_only_its_own_lines_anew() -> None:
    compiler = Compiler()
    for number in range(500):
        compiler.put_client(parsed("MQTTClient", f"user-{number:05d}", {}, uid=f"u{number}"), Proof())
    before = compiler.draft()
    compiler.put_client(parsed("MQTTClient", "user-00400", {"suspended": True}, uid="u400"), Proof())
    after = compiler.draft()
    assert len(set(after.parts) - set(before.parts)) == 1
    assert decode_policy([each.line for each in after.at(1)]).principals["user-00400"].suspended


def test_a_kept_principal_stays_until_it_is_let_go_or_somebody_has_its_name() -> None:
    compiler = Compiler()
    subjects = [{"kind": "MQTTClient", "name": "a"}]
    rules = [{"name": "r", "effect": "Allow", "activity": "All", "topics": ["t"]}]
    for name in ("p", "q"):
        compiler.put_permission(parsed("TopicPermission", name, {"subjects": subjects, "rules": rules}))
    for name in ("a", "b"):
        compiler.put_client(parsed("MQTTClient", name, {}, uid=f"u-{name}"), Proof(passwords=("v",)))
    compiler.draft()
    for name in ("a", "b"):
        principal = compiler.principal(name)
        assert principal is not None
        compiler.drop_client(f"mqtt/{name}")
        compiler.keep(principal)
    kept = policy_of(compiler)
    assert kept.principals["a"].permissions == ("mqtt/p", "mqtt/q")
    assert compiler.count == 2
    compiler.drop_permission("mqtt/p")
    compiler.put_client(parsed("MQTTClient", "another", {"username": "b"}, uid="u-c"), Proof())
    now = policy_of(compiler)
    assert now.principals["a"].permissions == ("mqtt/q",)
    assert now.principals["b"].uid == "u-c"
    compiler.let_go()
    assert set(policy_of(compiler).principals) == {"b"}


def policy_of(compiler: Compiler) -> Policy:
    return decode_policy([each.line for each in compiler.draft().at(1)])


def test_permissions_are_told_when_they_mean_others() -> None:
    compiler = Compiler()
    rules = [{"name": "r", "effect": "Allow", "activity": "All", "topics": ["t"]}]
    groups = [{"kind": "Group", "name": "g"}]
    compiler.put_permission(parsed("TopicPermission", "group", {"subjects": groups, "rules": rules}))
    everybody = {"subjects": [{"kind": "Authenticated"}], "rules": rules}
    compiler.put_permission(parsed("TopicPermission", "all", everybody))
    assert compiler.moved() == {"mqtt/group", "mqtt/all"}
    compiler.put_client(parsed("MQTTClient", "a", {}), Proof())
    assert compiler.moved() == {"mqtt/all"}
    compiler.put_client(parsed("MQTTClient", "a", {"groups": ["g"]}), Proof())
    assert compiler.moved() == {"mqtt/group"}
    compiler.put_client(parsed("MQTTClient", "a", {"groups": ["g"], "suspended": True}), Proof())
    assert compiler.moved() == set()
    compiler.drop_client("mqtt/a")
    assert compiler.moved() == {"mqtt/group", "mqtt/all"}


def test_facts_of_rules_follow_clients() -> None:
    compiler = Compiler()
    for name, priority, subject in (("low", 0, {"name": "a"}), ("high", 1, {"selector": {"matchLabels": {"x": "1"}}})):
        rules = [{"name": "r", "effect": "Allow", "activity": "All", "topics": ["t"]}]
        spec = {"subjects": [{"kind": "MQTTClient", **subject}], "rules": rules, "priority": priority}
        compiler.put_permission(parsed("TopicPermission", name, spec))
    compiler.put_client(parsed("MQTTClient", "a", {}), Proof())
    assert not dict(compiler.rule_news())["mqtt/low"].shadowed
    compiler.put_client(parsed("MQTTClient", "a", {}, labels={"x": "1"}), Proof())
    assert dict(compiler.rule_news())["mqtt/low"].shadowed == (Finding("r", "mqtt/high/r"),)
