"""The managed store: secrets that are made once, told to the running server, and replaced with nobody shut out."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mqtt_operator.channel.terms import LogInRefusedError
from mqtt_operator.desired import kinds
from mqtt_operator.desired.redis_users import digest
from mqtt_operator.reconcile.material import OVERLAP, REPLACED_AFTER
from mqtt_operator.reconcile.problems import MendError
from support.broker_documents import MANAGED, secret, tls_secret
from support.broker_rig import BrokerRig


async def started(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(MANAGED)
    await rig.settle()
    rig.kube.writes.clear()


async def data(rig: BrokerRig, name: str) -> dict[str, bytes]:
    found = await rig.get(kinds.SECRET, name)
    assert found is not None
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


async def certificate(rig: BrokerRig) -> bytes:
    """What the server would start with, DER."""
    pem = (await data(rig, "plant-store-server"))["tls.crt"]
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


async def test_everything_is_made_once_and_a_second_pass_writes_nothing(rig: BrokerRig) -> None:
    await started(rig)
    assert (await rig.condition("Ready"))[0] == "True"
    before = await data(rig, "plant-store-material")
    rig.restart()
    await rig.run()
    await rig.play()
    await rig.settle()
    assert await data(rig, "plant-store-material") == before
    rig.kube.writes.clear()
    await rig.run()
    assert rig.kube.writes == []


async def test_the_operator_logs_in_as_its_own_user_and_trusts_the_stores_own_ca(rig: BrokerRig) -> None:
    await started(rig)
    settings = rig.store.looked_with[-1]
    assert settings.addresses == (f"plant-store.{rig.key.namespace}.svc:6379",)
    assert settings.username == "operator"
    assert settings.password_file is not None
    assert settings.tls is not None
    operator = await data(rig, "plant-store-operator")
    folder = rig.folder / f"{rig.key.namespace}.plant"
    password, ca = folder / "operator.password", folder / "operator.ca.pem"
    assert (settings.password_file, settings.tls.ca_files) == (str(password), (str(ca),))
    assert (password.read_bytes(), ca.read_bytes()) == (operator["password"], operator["ca.crt"])


async def test_the_store_is_there_before_the_nodes_are(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(MANAGED)
    rig.store.away()
    await rig.run()
    assert await rig.get(kinds.STATEFUL_SET, "plant-store") is not None
    assert await rig.get(kinds.STATEFUL_SET, "plant") is None


async def test_no_password_leaves_the_secrets(rig: BrokerRig) -> None:
    await started(rig)
    words = {
        (await data(rig, "plant-store"))["password"].decode(),
        (await data(rig, "plant-store-operator"))["password"].decode(),
        (await data(rig, "plant-store-operator"))["admin-password"].decode(),
    }
    looked_through = (kinds.CONFIG_MAP, kinds.STATEFUL_SET, kinds.POD, kinds.SERVICE, kinds.MQTT_BROKER)
    shown = str([await rig.raw.list(kind, rig.key.namespace) for kind in looked_through])
    shown += str(rig.kube.events) + rig.outcome.sentence
    assert not [word for word in words if word in shown]
    assert words.isdisjoint((await data(rig, "plant-store-server"))["users.acl"].decode().split())


@pytest.mark.parametrize("name", ["plant-store", "plant-store-operator", "plant-store-server", "plant-store-material"])
async def test_a_secret_of_somebody_else_is_never_overwritten(name: str, rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    await rig.declare(secret(name, {"mine": b"yes"}))
    await rig.declare(MANAGED)
    with pytest.raises(MendError):
        await rig.run()
    assert await data(rig, name) == {"mine": b"yes"}
    assert (await rig.condition("Stalled"))[:2] == ("True", "SecretNotOurs")
    assert name in (await rig.condition("Stalled"))[2]
    assert await rig.get(kinds.STATEFUL_SET, "plant-store") is None


async def test_nodes_that_run_are_counted_although_the_material_is_somebody_elses_now(rig: BrokerRig) -> None:
    await started(rig)
    await rig.raw.delete(kinds.SECRET, rig.key.namespace, "plant-store-material")
    await rig.declare(secret("plant-store-material", {"mine": b"yes"}))
    with pytest.raises(MendError):
        await rig.run()
    assert (await rig.status())["nodes"] == "3/3"
    assert (await rig.condition("SessionStoreReachable"))[:2] == ("False", "Pending")


async def test_material_that_cannot_be_read_is_not_guessed(rig: BrokerRig) -> None:
    await started(rig)
    body = {"data": {"material.json": base64.b64encode(b"{}").decode()}}
    await rig.raw.patch(kinds.SECRET, rig.key.namespace, "plant-store-material", body)
    with pytest.raises(MendError, match="does not hold the material"):
        await rig.run()
    assert (await rig.condition("Stalled"))[:2] == ("True", "InvalidContent")


async def accepted(rig: BrokerRig) -> set[str]:
    """What nodes may log in with, as digests."""
    return digests((await data(rig, "plant-store-server"))["users.acl"].decode())


def digests(acl: str) -> set[str]:
    """The passwords of the nodes' user."""
    line = next(line for line in acl.splitlines() if line.startswith("user broker "))
    return {word[1:] for word in line.split() if word.startswith("#")}


async def authorities(rig: BrokerRig) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((await data(rig, "plant-store"))["ca.crt"])


async def stage(rig: BrokerRig) -> None:
    """One stage, until the server has been told."""
    for _ in range(3):
        await rig.run()
        await rig.play()


@pytest.mark.parametrize("why", ["asked", "age"])
async def test_passwords_and_certificates_are_replaced_with_both_good_in_between(why: str, rig: BrokerRig) -> None:
    await started(rig)
    old, (old_ca,) = (await data(rig, "plant-store"))["password"].decode(), await authorities(rig)
    if why == "asked":
        await rig.annotate(rotate_store_credentials="today")
    else:
        rig.later(seconds=REPLACED_AFTER.total_seconds())
        await rig.declare(tls_secret(begins=rig.now - timedelta(minutes=1)))

    # the store accepts the new password and nodes trust the new CA, before anybody uses them
    await stage(rig)
    assert (await data(rig, "plant-store"))["password"].decode() == old
    assert len(await accepted(rig)) == 2
    assert old_ca in await authorities(rig)
    assert len(await authorities(rig)) == 2
    assert digests(_acl(rig)) == await accepted(rig)
    serving = rig.server.serving

    # then both use the new ones, and the old are still good
    rig.later(seconds=OVERLAP.total_seconds())
    await stage(rig)
    new = (await data(rig, "plant-store"))["password"].decode()
    assert new != old
    assert await accepted(rig) == {digest(old), digest(new)}
    assert len(await authorities(rig)) == 2
    assert rig.server.serving != serving
    assert rig.server.serving == await certificate(rig)

    # then the old are gone
    rig.later(seconds=OVERLAP.total_seconds())
    await rig.settle()
    assert await accepted(rig) == {digest(new)}
    (new_ca,) = await authorities(rig)
    assert new_ca != old_ca
    assert digests(_acl(rig)) == {digest(new)}
    assert rig.workloads.deleted == []
    assert not [write for write in rig.kube.writes if write.startswith(("delete", "patch StatefulSet"))]


def _acl(rig: BrokerRig) -> str:
    return "\n".join(f"user {user} {' '.join(rules)}" for user, rules in rig.server.users[-1].items())


async def test_no_stage_ends_before_the_running_server_was_told(rig: BrokerRig) -> None:
    await started(rig)
    old = (await data(rig, "plant-store"))["password"]
    rig.store.away()
    await rig.annotate(rotate_store_credentials="today")
    for _ in range(3):
        await rig.run()
        rig.later(seconds=OVERLAP.total_seconds())
    assert (await data(rig, "plant-store"))["password"] == old
    assert len(await accepted(rig)) == 2


async def test_a_server_that_accepts_none_of_our_passwords_is_restarted_once_it_is_old_enough(rig: BrokerRig) -> None:
    await started(rig)
    rig.store.problem = LogInRefusedError("The store does not let us in.")
    await rig.run()
    assert rig.workloads.deleted == []
    before = await rig.get(kinds.POD, "plant-store-0")
    assert before is not None
    assert "delete Pod plant-store-0" not in rig.kube.writes
    rig.later(minutes=3)
    await rig.run()
    assert "delete Pod plant-store-0" in rig.kube.writes


async def test_a_restarted_server_is_told_again(rig: BrokerRig) -> None:
    await started(rig)
    told = len(rig.server.users)
    await rig.run()
    assert len(rig.server.users) == told
    rig.store.run = "run-2"
    await rig.run()
    assert len(rig.server.users) == told + 1
