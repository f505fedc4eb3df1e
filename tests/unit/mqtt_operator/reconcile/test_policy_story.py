"""The policy of one broker, pass by pass: what is written, what waits, and what everybody is told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from mqtt_api.conditions import Reason
from mqtt_api.node_facts import Purged
from mqtt_api.policy import Effect
from mqtt_operator.channel.terms import RolledBackError, SharedStoreError, StoreAwayError
from mqtt_operator.desired.kinds import MQTT_BROKER, MQTT_CLIENT, SECRET, TOPIC_PERMISSION
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.port import Call, ForbiddenError
from mqtt_operator.reconcile.exchange import SharedPlace
from mqtt_operator.reconcile.policy_ledger import GRACE_S
from mqtt_operator.reconcile.policy_purges import PURGE_DELAY_S
from mqtt_operator.reconcile.policy_story import KEEP_S, NODES_IDLE_S
from mqtt_operator.reconcile.registry import HiddenError, Scope, UnseenError
from mqtt_operator.status.verdict import Problem
from support.policy_rig import KEY, SETTINGS, WORLD, PolicyRig
from unit.mqtt_operator.reconcile.documents import broker, client, permission, secret

PASSWORD = {"passwords": [{"secretRef": {"name": "pump-7", "key": "password"}}]}
FOREIGN: dict[str, Any] = {
    "metadata__namespace": "other",
    "spec__brokerRef": {"name": "plant", "namespace": "mqtt"},
}
ATTACHMENT = {
    "namespaces": {"names": ["other"]},
    "topics": ["shared/#"],
    "clientIDPrefix": "other.",
    "usernamePrefix": "other.",
}
CERTIFICATE = {"certificates": [{"match": {"commonName": "pump-7"}}]}


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[PolicyRig]:
    async with PolicyRig() as rig:
        rig.see(broker())
        rig.tell_place()
        yield rig


def certified(name: str = "pump-7", **changes: Any) -> dict[str, Any]:
    return client(name, **{"spec__credentials": {"certificates": [{"match": {"commonName": name}}]}, **changes})


# From objects to nodes


async def test_what_is_declared_is_written_as_revision_0_and_told_once_all_nodes_decide_by_it(rig: PolicyRig) -> None:
    rig.see(certified(), permission())
    outcome = await rig.run()
    assert (rig.store.revision, set(rig.store.policy().principals)) == (0, {"pump-7"})
    assert outcome.sentence == "Policy revision 0 is in force: 1 clients and 1 permissions."
    assert rig.kube.statuses == []  # on its way
    rig.store.follow()
    rig.wait(1.0)
    await rig.run()
    status = rig.status(MQTT_CLIENT, "pump-7")
    assert (status["username"], status["appliedRevision"], status["observedGeneration"]) == ("pump-7", 0, 1)
    assert {kind: each[0] for kind, each in status["conditions"].items()} == dict.fromkeys(
        ("Accepted", "ResolvedRefs", "Programmed", "Ready"), "True"
    )
    status = rig.status(TOPIC_PERMISSION, "pumps")
    assert (status["matchedClients"], status["appliedRevision"]) == (0, 0)
    assert status["conditions"]["NoConflicts"][0] == "True"
    assert (rig.report.revision, rig.report.nodes_current, rig.report.nodes_total) == (0, 2, 2)
    assert rig.report.established


async def test_a_pass_with_nothing_new_writes_nothing(rig: PolicyRig) -> None:
    rig.see(certified(), permission())
    await rig.in_force()
    writes, statuses = rig.store.writes, len(rig.kube.statuses)
    rig.wait(KEEP_S)
    await rig.run()
    assert (rig.store.writes, len(rig.kube.statuses)) == (writes, statuses)


async def test_one_changed_object_is_one_revision_and_one_part(rig: PolicyRig) -> None:
    rig.see(*(certified(f"pump-{number}") for number in range(300)), permission())
    await rig.in_force()
    rig.store.sent_parts = 0
    rig.see(certified("pump-7", spec__suspended=True, metadata__generation=2))
    policy = await rig.in_force()
    assert policy.principals["pump-7"].suspended
    assert (rig.store.revision, rig.store.sent_parts) == (1, 2)  # and the outline
    status = rig.status(MQTT_CLIENT, "pump-7")
    assert (status["appliedRevision"], status["conditions"]["Ready"][1]) == (1, "Suspended")
    assert rig.status(MQTT_CLIENT, "pump-8")["appliedRevision"] == 0


async def test_a_deleted_client_is_gone_from_the_policy(rig: PolicyRig) -> None:
    rig.see(certified(), certified("pump-8"))
    await rig.in_force()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    assert set((await rig.in_force()).principals) == {"pump-8"}


async def test_one_that_is_being_deleted_counts_as_deleted(rig: PolicyRig) -> None:
    rig.see(certified(), certified("pump-8"))
    await rig.in_force()
    rig.see(certified(metadata__deletionTimestamp="2026-01-01T00:00:00Z"))
    assert set((await rig.in_force()).principals) == {"pump-8"}


async def test_the_broker_says_what_holds_where_no_rule_speaks(rig: PolicyRig) -> None:
    await rig.in_force()
    assert rig.store.policy().default_effect is Effect.DENY
    rig.see(broker(spec__authorization={"defaultPolicy": "Allow"}))
    assert (await rig.in_force()).default_effect is Effect.ALLOW


async def test_nodes_that_lag_are_told_after_a_while(rig: PolicyRig) -> None:
    rig.see(certified())
    rig.store.nodes = {"plant-0": -1}
    await rig.run()
    rig.wait(GRACE_S)
    await rig.run()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Programmed"][1] == "NodesBehind"
    rig.store.follow()
    rig.wait(1.0)
    await rig.run()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


async def test_without_nodes_the_status_says_so(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.run()
    rig.wait(GRACE_S)
    await rig.run()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Programmed"][1] == "NoNodes"


async def test_the_count_of_clients_follows(rig: PolicyRig) -> None:
    rig.see(permission())
    await rig.in_force()
    rig.see(certified(spec__groups=["pumps"]))
    await rig.in_force()
    assert rig.status(TOPIC_PERMISSION, "pumps")["matchedClients"] == 1


async def test_rules_that_contradict_are_told(rig: PolicyRig) -> None:
    deny = {"spec__rules": [{"name": "no", "effect": "Deny", "activity": "Publish", "topics": ["plant/+/x"]}]}
    rig.see(certified(spec__groups=["pumps"]), permission(), permission("deny", **deny))
    await rig.in_force()
    status, reason, sentence = rig.status(TOPIC_PERMISSION, "pumps")["conditions"]["NoConflicts"]
    assert (status, reason) == ("False", "RulesContradict")
    assert "mqtt/deny/no" in sentence


# What objects get wrong


async def test_a_missing_secret_concerns_that_client_alone_and_is_waited_for(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), certified("pump-8"))
    policy = await rig.in_force()
    assert (policy.principals["pump-7"].passwords, set(policy.principals)) == ((), {"pump-7", "pump-8"})
    told = rig.status(MQTT_CLIENT, "pump-7")["conditions"]
    assert told["ResolvedRefs"][:2] == ("False", "SecretNotFound")
    assert "Secret mqtt/pump-7" in told["ResolvedRefs"][2]
    assert told["Ready"][:2] == ("False", "RefsNotResolved")
    assert rig.status(MQTT_CLIENT, "pump-8")["conditions"]["Ready"][0] == "True"
    rig.see(secret(password="hunter2"))
    (verifier,) = (await rig.in_force()).principals["pump-7"].passwords
    assert PasswordHasher().verify(verifier, "hunter2")
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


@pytest.mark.parametrize(
    ("source", "content", "reason"),
    [
        ({"name": "pump-7", "key": "password"}, {"other": "x"}, "KeyNotFound"),
        ({"name": "pump-7", "key": "password"}, {"password": ""}, "InvalidContent"),
        ({"name": "pump-7", "hashKey": "hash"}, {"hash": "$argon2i$garbage"}, "InvalidContent"),
    ],
)
async def test_garbage_in_a_secret_is_told_without_repeating_it(
    rig: PolicyRig, source: dict[str, str], content: dict[str, str], reason: str
) -> None:
    rig.see(client(spec__credentials={"passwords": [{"secretRef": source}]}), secret(**content))
    await rig.in_force()
    status, said, sentence = rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"]
    assert (status, said) == ("False", reason)
    assert "garbage" not in sentence


async def test_a_client_without_credentials_is_told_that_it_cannot_connect(rig: PolicyRig) -> None:
    rig.see(client())
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][:2] == ("False", "NoCredentials")


async def test_a_user_name_stays_with_whom_it_was_over_a_restart(rig: PolicyRig) -> None:
    rig.see(certified("b", spec__username="shared"))
    await rig.in_force()
    await rig.restart()
    rig.see(certified("a", spec__username="shared"))
    assert (await rig.in_force()).principals["shared"].uid == "uid-b"
    assert rig.status(MQTT_CLIENT, "a")["conditions"]["Accepted"][:2] == ("False", "UsernameTaken")
    assert rig.status(MQTT_CLIENT, "b")["conditions"]["Accepted"][0] == "True"
    rig.kube.take(MQTT_CLIENT, "b")
    assert (await rig.in_force()).principals["shared"].uid == "uid-a"
    assert rig.status(MQTT_CLIENT, "a")["conditions"]["Ready"][0] == "True"


async def test_an_object_of_another_namespace_takes_no_part(rig: PolicyRig) -> None:
    rig.see(certified(**FOREIGN), permission(**FOREIGN))
    policy = await rig.in_force()
    assert not policy.principals
    assert not policy.permissions
    for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
        told = rig.status(kind, name, "other")
        assert told["conditions"]["Accepted"][:2] == ("False", "NamespaceNotAttached")
        assert "appliedRevision" not in told


async def test_an_attachment_lets_them_in_at_once(rig: PolicyRig) -> None:
    mine = {"certificates": [{"match": {"commonName": "team.x"}}]}
    rig.see(certified(spec__username="team.x", spec__credentials=mine, **FOREIGN))
    await rig.in_force()
    attachment = {
        "namespaces": {"names": ["other"]},
        "topics": ["team/#"],
        "clientIDPrefix": "team.",
        "usernamePrefix": "team.",
    }
    rig.see(broker(spec__attachments=[attachment]))
    assert set((await rig.in_force()).principals) == {"team.x"}


async def test_an_object_with_mistakes_is_told_them(rig: PolicyRig) -> None:
    rig.see(certified(spec__groups="pumps"))
    await rig.in_force()
    status, reason, sentence = rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Accepted"]
    assert (status, reason) == ("False", "InvalidSpec")
    assert "spec.groups" in sentence


async def test_a_subject_that_does_not_exist_is_waited_for(rig: PolicyRig) -> None:
    rig.see(permission(spec__subjects=[{"kind": "MQTTClient", "name": "pump-7"}]))
    await rig.in_force()
    told = rig.status(TOPIC_PERMISSION, "pumps")["conditions"]["ResolvedRefs"]
    assert told[:2] == ("False", "ClientNotFound")
    rig.see(certified())
    await rig.in_force()
    assert rig.status(TOPIC_PERMISSION, "pumps")["conditions"]["Ready"][0] == "True"


# Passwords


async def test_hashing_keeps_nobody_waiting(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"), certified("pump-8"))
    with rig.hasher.held():
        await rig.reconciler.reconcile(KEY)
        rig.wait(GRACE_S)
        await rig.reconciler.reconcile(KEY)
        assert set(rig.store.policy().principals) == {"pump-7", "pump-8"}
        assert rig.store.policy().principals["pump-7"].passwords == ()
    assert (await rig.in_force()).principals["pump-7"].passwords


async def test_a_changed_secret_is_hashed_alone_and_replaces_the_old_password_in_one_step(rig: PolicyRig) -> None:
    other = {"passwords": [{"secretRef": {"name": "pump-8", "key": "password"}}]}
    rig.see(client(spec__credentials=PASSWORD), secret(password="one"), client("pump-8", spec__credentials=other))
    rig.see(secret("pump-8", password="two"))
    before = (await rig.in_force()).principals
    rig.hasher.hashed = 0
    rig.see(secret(password="three"))
    with rig.hasher.held():
        await rig.reconciler.reconcile(KEY)
        assert rig.store.policy().principals["pump-7"].passwords == before["pump-7"].passwords
    after = (await rig.in_force()).principals
    assert rig.hasher.hashed == 1
    assert len(after["pump-7"].passwords) == 1
    assert PasswordHasher().verify(after["pump-7"].passwords[0], "three")
    assert after["pump-8"] == before["pump-8"]


async def test_a_restart_hashes_nothing_writes_nothing_and_tells_nothing(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"), certified("pump-8"), permission())
    rig.see(broker(spec__authentication=[{"name": "s", "type": "SCRAM"}, {"name": "p", "type": "Password"}]))
    before = await rig.in_force()
    assert before.principals["pump-7"].scram
    await rig.restart()
    assert await rig.in_force() == before
    assert rig.hasher.hashed == 0
    assert (rig.store.writes, rig.kube.writes, rig.kube.statuses) == (0, [], [])


async def test_a_lost_cache_and_lost_keys_change_no_verifier(rig: PolicyRig) -> None:
    """Whoever is connected is known by it."""
    rig.see(broker(spec__authentication=[{"name": "s", "type": "SCRAM"}]))
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"))
    before = await rig.in_force()
    rig.store.verifiers.clear()
    rig.kube.take(SECRET, "plant-verifiers")
    await rig.restart()
    after = await rig.in_force()
    assert after.principals == before.principals
    assert after.scram_salt_key == before.scram_salt_key


async def test_a_verifier_that_nobody_needs_is_forgotten(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"))
    await rig.in_force()
    assert len(rig.store.verifiers) == 1
    rig.kube.take(MQTT_CLIENT, "pump-7")
    await rig.in_force()
    assert rig.store.verifiers == {}


async def test_no_password_reaches_the_store_or_a_status(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"))
    await rig.in_force()
    told = repr((rig.store.parts, rig.store.verifiers, rig.status(MQTT_CLIENT, "pump-7"), rig.outcome))
    assert "hunter2" not in told


# Absence is not an order


async def test_while_somebody_may_be_unseen_nothing_is_written(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.registry.drop(Scope(MQTT_CLIENT, ""))
    rig.registry.expect(Scope(MQTT_CLIENT, ""))
    rig.kube.take(MQTT_CLIENT, "pump-7")
    with pytest.raises(UnseenError):
        await rig.run()
    assert set(rig.store.policy().principals) == {"pump-7"}


def hide(rig: PolicyRig, namespace: str) -> None:
    """An operator of two namespaces begins, and may not look into one of them."""
    for kind in (MQTT_CLIENT, TOPIC_PERMISSION):
        rig.registry.drop(Scope(kind, ""))
        rig.registry.expect(Scope(kind, "mqtt"))
        rig.registry.complete(Scope(kind, "mqtt"))
        rig.registry.expect(Scope(kind, namespace))
        rig.registry.fail(Scope(kind, namespace), ForbiddenError(Call("list", "", kind.plural), namespace))


async def test_a_policy_whose_members_may_be_in_a_hidden_namespace_stays_as_it_is_and_that_is_told(
    rig: PolicyRig,
) -> None:
    rig.see(broker(spec__attachments=[ATTACHMENT]), certified("other.pump-7", **FOREIGN), certified("pump-8"))
    assert set((await rig.in_force()).principals) == {"other.pump-7", "pump-8"}
    rig.kube.take(MQTT_CLIENT, "other.pump-7", "other")
    hide(rig, "other")
    await rig.restart()
    rig.see(certified("pump-9"))
    with pytest.raises(HiddenError):
        await rig.run()
    assert set(rig.store.policy().principals) == {"other.pump-7", "pump-8"}
    problem = rig.exchange.report(KEY).problem
    assert "Nobody knows the mqttclients of namespace other: The operator may not list" in str(problem)
    rig.see(certified("other.pump-7", **FOREIGN))
    for kind in (MQTT_CLIENT, TOPIC_PERMISSION):
        rig.registry.complete(Scope(kind, "other"))
    assert set((await rig.in_force()).principals) == {"other.pump-7", "pump-8", "pump-9"}
    assert rig.exchange.report(KEY).problem is None


async def test_a_hidden_namespace_is_no_matter_of_brokers_that_hand_nothing_to_it(rig: PolicyRig) -> None:
    rig.see(certified("pump-8"))
    await rig.in_force()
    hide(rig, "other")
    await rig.restart()
    rig.see(certified("pump-9"))
    assert set((await rig.in_force()).principals) == {"pump-8", "pump-9"}


async def test_a_secret_that_nobody_knows_any_more_takes_no_password_away(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"))
    before = await rig.in_force()
    rig.registry.drop(Scope(SECRET, ""))
    rig.registry.expect(Scope(SECRET, ""))
    rig.see(client(spec__credentials=PASSWORD, metadata__generation=2, spec__groups=["g"]))
    after = await rig.in_force()
    assert after.principals["pump-7"].groups == ("g",)
    assert after.principals["pump-7"].passwords == before.principals["pump-7"].passwords
    await rig.restart()
    assert (await rig.in_force()).principals == after.principals


async def test_many_clients_gone_at_once_wait_for_a_person_and_others_go_on(rig: PolicyRig) -> None:
    rig.see(*(certified(f"pump-{number}") for number in range(40)))
    await rig.in_force()
    for number in range(20):
        rig.kube.take(MQTT_CLIENT, f"pump-{number}")
    rig.see(certified("new"))
    assert len((await rig.in_force()).principals) == 41
    assert rig.report.stalled.startswith("20 clients are gone at once")
    await rig.restart()
    assert len((await rig.in_force()).principals) == 41
    assert rig.report.stalled
    rig.see(broker(metadata__annotations={"mqtt.stoa.dev/accept-mass-removal": "true"}))
    assert len((await rig.in_force()).principals) == 21
    assert rig.report.stalled == ""


async def test_many_that_went_while_nobody_looked_wait_as_well(rig: PolicyRig) -> None:
    rig.see(*(certified(f"pump-{number}") for number in range(40)))
    await rig.in_force()
    await rig.restart()
    for number in range(20):
        rig.kube.take(MQTT_CLIENT, f"pump-{number}")
    assert len((await rig.in_force()).principals) == 40
    assert rig.report.stalled


async def test_what_a_broker_before_this_one_allowed_holds_for_nobody_and_its_revision_is_passed(
    rig: PolicyRig,
) -> None:
    """A store that was kept: it is not many who went, but another broker who never knew them."""
    rig.see(*(certified(f"pump-{number}") for number in range(40)))
    await rig.in_force()
    revision = rig.store.revision
    await rig.restart()
    for number in range(39):
        rig.kube.take(MQTT_CLIENT, f"pump-{number}")
    rig.tell_place(SharedPlace(world=WORLD, may_be_new=False, accepts=True, settings=SETTINGS, is_inherited=True))
    assert set((await rig.in_force()).principals) == {"pump-39"}
    assert rig.store.revision == revision + 1
    assert rig.report.stalled == ""


async def test_a_few_that_went_while_nobody_looked_are_gone(rig: PolicyRig) -> None:
    rig.see(*(certified(f"pump-{number}") for number in range(40)))
    await rig.in_force()
    await rig.restart()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    assert len((await rig.in_force()).principals) == 39


# Clients that are deleted for good


def deleted_for_good(**changes: Any) -> dict[str, Any]:
    return certified(spec__deletionPolicy="Delete", **changes)


def of_another_namespace() -> list[dict[str, Any]]:
    """The broker lets the other namespace bring a client of the same user name; and that client."""
    attachment = {"namespaces": {"names": ["other"]}, "topics": ["a/#"], "usernamePrefix": "pump-"}
    attachment |= {"clientIDPrefix": "pump-"}
    return [broker(spec__attachments=[attachment]), certified(metadata__uid="rival", **FOREIGN)]


async def test_sessions_of_a_client_that_is_deleted_for_good_are_asked_to_end_until_a_node_has_done_it(
    rig: PolicyRig,
) -> None:
    rig.see(deleted_for_good(), certified("pump-8"))
    await rig.in_force()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    rig.kube.take(MQTT_CLIENT, "pump-8")
    policy = await rig.in_force()
    assert policy.purges.keys() == {"pump-7"}
    due_at = policy.purges["pump-7"].due_at
    assert PURGE_DELAY_S - 60 < due_at - rig.now.timestamp() <= PURGE_DELAY_S
    await rig.restart()
    assert (await rig.in_force()).purges == policy.purges
    rig.wait(PURGE_DELAY_S + 100_000)  # nodes are away
    assert (await rig.in_force()).purges == policy.purges
    await rig.restart()
    assert (await rig.in_force()).purges == policy.purges
    rig.store.purge(datetime.fromtimestamp(due_at, UTC))
    assert (await rig.in_force()).purges == {}


@pytest.mark.parametrize(("revisions", "seconds"), [(-1, 0), (0, -1)])
async def test_what_nodes_tell_of_another_policy_or_of_another_time_ends_no_request(
    rig: PolicyRig, revisions: int, seconds: int
) -> None:
    rig.see(deleted_for_good())
    await rig.in_force()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    policy = await rig.in_force()
    due_at = policy.purges["pump-7"].due_at
    rig.store.purged = Purged(revision=policy.revision + revisions, until=due_at + seconds)
    assert (await rig.in_force()).purges == policy.purges


async def test_one_that_comes_back_in_time_keeps_its_sessions(rig: PolicyRig) -> None:
    rig.see(deleted_for_good())
    await rig.in_force()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    assert (await rig.in_force()).purges
    rig.see(certified(metadata__uid="another"))
    policy = await rig.in_force()
    assert not policy.purges
    assert set(policy.principals) == {"pump-7"}


async def test_one_that_came_back_in_time_while_nobody_looked_keeps_its_sessions_too(rig: PolicyRig) -> None:
    rig.see(deleted_for_good())
    await rig.in_force()
    await rig.restart()
    rig.see(deleted_for_good(metadata__uid="another"))
    policy = await rig.in_force()
    assert not policy.purges
    assert set(policy.principals) == {"pump-7"}


async def test_one_that_comes_too_late_waits_until_what_is_not_its_own_has_ended(rig: PolicyRig) -> None:
    rig.see(deleted_for_good())
    await rig.in_force()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    await rig.in_force()
    rig.wait(PURGE_DELAY_S)  # no node runs
    rig.see(certified(metadata__uid="another"))
    policy = await rig.in_force()
    assert set(policy.purges) == {"pump-7"}
    assert not policy.principals
    told = rig.status(MQTT_CLIENT, "pump-7")["conditions"]
    assert told["Accepted"][:2] == ("False", "Pending")
    assert "its sessions end first" in told["Ready"][2]
    rig.store.purge(rig.now)
    rig.wait(NODES_IDLE_S)
    policy = await rig.in_force()
    assert not policy.purges
    assert set(policy.principals) == {"pump-7"}
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][:2] == ("True", "Synced")


@pytest.mark.parametrize("when", ["after", "before", "while nobody looked"])
async def test_one_of_another_namespace_gets_the_user_name_when_the_sessions_have_ended_and_they_end_at_once(
    rig: PolicyRig, when: str
) -> None:
    attaching, rival = of_another_namespace()
    rig.see(attaching, deleted_for_good())
    await rig.in_force()
    if when == "before":
        rig.see(rival)
        await rig.in_force()
    if when == "while nobody looked":
        await rig.restart()
        rig.see(rival)
    rig.kube.take(MQTT_CLIENT, "pump-7")
    if when == "after":
        await rig.in_force()
        rig.see(rival)
    policy = await rig.in_force()
    assert not policy.principals
    assert policy.purges["pump-7"].due_at <= rig.now.timestamp()
    assert rig.status(MQTT_CLIENT, "pump-7", "other")["conditions"]["Accepted"][:2] == ("False", "Pending")
    rig.store.purge(rig.now)
    rig.wait(NODES_IDLE_S)
    policy = await rig.in_force()
    assert not policy.purges
    assert policy.principals["pump-7"].namespace == "other"
    assert rig.status(MQTT_CLIENT, "pump-7", "other")["conditions"]["Ready"][:2] == ("True", "Synced")


async def test_one_that_went_for_good_while_nobody_looked_is_purged_as_well(rig: PolicyRig) -> None:
    rig.see(certified(spec__deletionPolicy="Delete"))
    await rig.in_force()
    await rig.restart()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    assert (await rig.in_force()).purges.keys() == {"pump-7"}


async def test_nothing_of_many_that_are_gone_at_once_is_purged_before_that_is_confirmed(rig: PolicyRig) -> None:
    rig.see(*(certified(f"pump-{number}", spec__deletionPolicy="Delete") for number in range(40)))
    await rig.in_force()
    for number in range(20):
        rig.kube.take(MQTT_CLIENT, f"pump-{number}")
    assert (await rig.in_force()).purges == {}
    rig.see(broker(metadata__annotations={"mqtt.stoa.dev/accept-mass-removal": "true"}))
    assert len((await rig.in_force()).purges) == 20


# The store


async def test_a_store_that_is_away_is_waited_for_and_told(rig: PolicyRig) -> None:
    rig.see(certified())
    rig.store.problem = StoreAwayError("The store does not answer.")
    with pytest.raises(StoreAwayError):
        await rig.run()
    assert rig.report.problem is not None
    rig.store.problem = None
    await rig.in_force()
    rig.store.problem = StoreAwayError("The store does not answer.")
    rig.see(certified("pump-8"))
    for _ in range(2):
        with pytest.raises(StoreAwayError):
            await rig.run()
        rig.wait(GRACE_S)
    await rig.settle()
    status, reason, sentence = rig.status(MQTT_CLIENT, "pump-8")["conditions"]["Programmed"]
    assert (status, reason) == ("False", "PolicyNotWritten")
    assert "does not answer" in sentence
    rig.store.problem = None
    assert set((await rig.in_force()).principals) == {"pump-7", "pump-8"}
    assert rig.report.problem is None


async def test_a_store_that_is_away_is_asked_again_soon(rig: PolicyRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_operator.reconcile.policy.STORE_AGAIN_S", 0.0)
    woken = asyncio.Event()
    rig.exchange.on_place(KEY, woken.set)
    rig.store.problem = StoreAwayError("The store does not answer.")
    with pytest.raises(StoreAwayError):
        await rig.run()
    async with asyncio.timeout(5):
        await woken.wait()


async def test_a_store_that_was_rolled_back_waits_until_it_is_accepted(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.store.problem = RolledBackError("The store has lost acknowledged writes.")
    rig.wait(KEEP_S)
    with pytest.raises(RolledBackError):
        await rig.run()
    assert rig.report.is_rolled_back
    rig.store.problem, rig.store.generation_to_accept = None, 3
    rig.wait(KEEP_S)
    await rig.run()
    assert (rig.report.is_rolled_back, rig.report.generation_accepted) == (False, 3)


async def test_a_store_that_was_set_back_gets_a_revision_above_what_nodes_know(rig: PolicyRig) -> None:
    """Nodes never take a lower one."""
    rig.see(certified())
    await rig.in_force()
    rig.store.revision, rig.store.nodes = 0, {"plant-0": 41}
    rig.wait(KEEP_S)
    await rig.run()
    assert rig.store.revision == 42


async def test_a_revision_that_was_taken_meanwhile_is_passed(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.store.revision = 7
    rig.see(certified("pump-8"))
    await rig.run()
    assert rig.store.revision == 8


async def test_whoever_writes_after_us_is_not_overwritten_and_we_begin_anew(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.store.fence += 1
    rig.see(certified("pump-8"))
    with pytest.raises(SharedStoreError, match="Another operator"):
        await rig.run()
    await rig.run()
    assert set(rig.store.policy().principals) == {"pump-7", "pump-8"}


async def test_a_policy_that_cannot_be_read_is_written_anew_above_its_revision(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    await rig.restart()
    rig.store.parts = [b"garbage"]
    assert set((await rig.in_force()).principals) == {"pump-7"}
    assert rig.store.revision == 1


async def test_the_store_of_somebody_else_is_not_written(rig: PolicyRig) -> None:
    rig.store.world = "another"
    with pytest.raises(SharedStoreError, match="has identity another"):
        await rig.run()
    assert rig.store.revision == -1


# Embedded stores


async def test_the_policy_of_an_embedded_store_is_a_secret(rig: PolicyRig) -> None:
    rig.tell_embedded()
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plant-0", "namespace": "mqtt"}}
    rig.kube.objects["Pod", "mqtt", "plant-0"] = pod
    rig.see(certified(), permission())
    await rig.run()
    assert b'"pump-7"' in rig.kube.secret("plant-policy")["policy.json"]
    assert pod["metadata"]["annotations"] == {"mqtt.stoa.dev/policy-revision": "0"}  # type: ignore[index]
    rig.exchange.tell_nodes(KEY, {"plant-0": 0})
    rig.wait(1.0)
    await rig.run()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


async def test_a_node_with_a_store_of_its_own_tells_when_the_sessions_of_a_deleted_client_have_ended(
    rig: PolicyRig,
) -> None:
    rig.tell_embedded()
    rig.see(deleted_for_good())
    await rig.run()
    rig.kube.take(MQTT_CLIENT, "pump-7")
    await rig.run()
    assert b'"purges":{"pump-7"' in rig.kube.secret("plant-policy")["policy.json"]
    told = Purged(revision=1, until=int(rig.now.timestamp()) + PURGE_DELAY_S)
    rig.exchange.tell_nodes(KEY, {"plant-0": 1}, [told])
    for _ in range(2):
        rig.wait(NODES_IDLE_S)
        await rig.run()
    assert b'"purges":{}' in rig.kube.secret("plant-policy")["policy.json"]


async def test_a_policy_that_somebody_took_away_is_there_again_soon(rig: PolicyRig) -> None:
    rig.tell_embedded()
    rig.see(certified())
    await rig.run()
    before = rig.kube.secret("plant-policy")
    rig.kube.take(SECRET, "plant-policy")
    rig.wait(KEEP_S)
    await rig.run()
    assert rig.kube.secret("plant-policy") == before
    rig.wait(KEEP_S)
    await rig.run()
    assert rig.kube.writes.count("apply Secret plant-policy") == 2


async def test_a_restart_of_an_embedded_one_hashes_nothing_and_writes_nothing(rig: PolicyRig) -> None:
    rig.tell_embedded()
    rig.see(client(spec__credentials=PASSWORD), secret(password="hunter2"))
    await rig.run()
    await rig.run()
    before = rig.kube.secret("plant-policy")
    await rig.restart()
    await rig.run()
    await rig.run()
    assert rig.kube.secret("plant-policy") == before
    assert rig.hasher.hashed == 0
    assert rig.kube.writes == []


async def test_a_policy_that_does_not_fit_into_a_secret_is_refused(
    rig: PolicyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_operator.reconcile.policy_embedded.DOCUMENT_BYTES_MAX", 1_000)
    rig.tell_embedded()
    rig.see(certified())
    await rig.run()
    rig.see(*(certified(f"pump-{number}") for number in range(20)))
    for _ in range(2):
        with pytest.raises(ExpectedError, match="an embedded store takes"):
            await rig.run()
        rig.wait(GRACE_S)
    await rig.settle()
    assert rig.status(MQTT_CLIENT, "pump-3")["conditions"]["Programmed"][:2] == ("False", "PolicyTooLarge")
    assert b"pump-3" not in rig.kube.secret("plant-policy")["policy.json"]


# Brokers that are not there


async def test_members_of_a_broker_that_does_not_exist_are_told(rig: PolicyRig) -> None:
    rig.see(certified(), permission())
    rig.kube.take(MQTT_BROKER, "plant")
    await rig.run()
    for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
        told = rig.status(kind, name)["conditions"]
        assert told["ResolvedRefs"][:2] == ("False", "BrokerNotFound")
        assert told["Ready"][0] == "False"
    assert rig.store.revision == -1
    rig.see(broker())
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metadata__annotations": {"mqtt.stoa.dev/pause-reconciliation": "true"}}, "pauses"),
        ({"metadata__deletionTimestamp": "2026-01-01T00:00:00Z"}, "is being deleted"),
        ({"spec__listeners": "none"}, "has mistakes"),
    ],
)
async def test_a_policy_is_left_alone(rig: PolicyRig, changes: dict[str, Any], words: str) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.see(broker(**changes), certified("pump-8"))
    outcome = await rig.run()
    assert words in outcome.sentence
    assert set(rig.store.policy().principals) == {"pump-7"}


async def test_nothing_is_written_before_the_store_is_known() -> None:
    async with PolicyRig() as rig:
        rig.see(broker(), certified())
        assert "waits" in (await rig.run()).sentence
        assert rig.store.revision == -1


async def test_members_are_told_why_there_is_no_store_that_could_hold_a_first_policy() -> None:
    problem = Problem(Reason.STORE_REPLACED, "The store has identity 7d0a.")
    async with PolicyRig() as rig:
        rig.see(broker(), certified(), permission())
        rig.exchange.tell_place(KEY, None, problem)
        await rig.run()
        for kind, name in ((MQTT_CLIENT, "pump-7"), (TOPIC_PERMISSION, "pumps")):
            sentence = "MQTTBroker mqtt/plant has no store to keep it in yet: The store has identity 7d0a."
            assert rig.status(kind, name)["conditions"]["Programmed"] == ("False", "StoreReplaced", sentence)
            assert rig.status(kind, name)["conditions"]["Ready"][2] == sentence
        rig.tell_place()
        await rig.in_force()
        assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


async def test_members_that_nodes_know_are_not_told_of_a_store_that_was_lost_later(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.see({**broker(), "status": {"policy": {"revision": 0}}})
    await rig.restart()
    rig.exchange.tell_place(KEY, None, Problem(Reason.STORE_REPLACED, "The store is empty."))
    assert "waits" in (await rig.run()).sentence
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


async def test_a_namesake_of_a_broker_that_was_deleted_begins_anew(rig: PolicyRig) -> None:
    rig.see(certified())
    await rig.in_force()
    rig.kube.take(MQTT_BROKER, "plant")
    rig.see(broker(metadata__uid="another"))
    with pytest.raises(ExpectedError, match="of a former broker of this name is being removed"):
        await rig.run()
    rig.kube.take(SECRET, "plant-verifiers")
    await rig.in_force()
    assert rig.store.fence == 3
