"""What is made for clients: passwords in Secrets of ours, replaced in time, and certificates that are issued."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mqtt_api.policy import CertificateMatch, Policy
from mqtt_operator.desired.kinds import MQTT_CLIENT, SECRET
from mqtt_operator.kube.port import KubeAwayError, RefusedError
from mqtt_operator.reconcile.policy_chores import AGAIN_S, LIST_S
from support.policy_rig import PolicyRig
from unit.mqtt_operator.reconcile.documents import broker, client, secret

GENERATE = {"passwords": [{"generate": {"secretName": "pump-7-mqtt"}}]}
HOURLY = {"passwords": [{"generate": {"secretName": "pump-7-mqtt", "every": "1h", "overlap": "10m"}}]}
ISSUED = {"certificates": [{"issuerRef": {"name": "device-ca"}, "secretName": "pump-7-tls", "revokedSerials": ["0a"]}]}


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[PolicyRig]:
    async with PolicyRig() as rig:
        rig.see(broker())
        rig.tell_place()
        yield rig


def lets_in(policy: Policy, password: bytes) -> bool:
    hasher = PasswordHasher()
    for verifier in policy.principals["pump-7"].passwords:
        try:
            return hasher.verify(verifier, password)
        except VerifyMismatchError:
            continue
    return False


# Passwords that are made up


async def test_a_password_is_made_once_with_all_that_a_client_needs(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=GENERATE))
    policy = await rig.in_force()
    made = rig.kube.secret("pump-7-mqtt")
    assert lets_in(policy, made["password"])
    assert (made["username"], made["host"], made["port"]) == (b"pump-7", b"plant.mqtt.svc", b"8883")
    assert rig.status(MQTT_CLIENT, "pump-7")["binding"] == {"name": "pump-7-mqtt"}
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"
    assert rig.kube.writes.count("create Secret pump-7-mqtt") == 1
    await rig.restart()
    await rig.in_force()
    assert rig.kube.secret("pump-7-mqtt") == made
    assert rig.kube.writes == []


async def test_a_password_that_is_made_or_replaced_is_told_and_one_that_stays_is_not(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    made = [("pump-7", "Normal", "PasswordGenerated")]
    assert [each[:3] for each in rig.kube.events] == made
    rig.see(broker(spec__listeners=[{"name": "mqtts", "port": 9999, "tls": {}}]))
    await rig.in_force()
    assert [each[:3] for each in rig.kube.events] == made
    rig.wait(3600)
    await rig.in_force()
    assert [each[:3] for each in rig.kube.events] == [*made, ("pump-7", "Normal", "PasswordRotated")]
    rig.wait(600)
    await rig.in_force()
    await rig.restart()
    await rig.in_force()
    assert len(rig.kube.events) == 2
    for password in rig.kube.secret("pump-7-mqtt").values():
        assert len(password) < 20 or password.decode() not in repr(rig.kube.events)


async def test_a_secret_that_we_did_not_make_is_neither_written_nor_used(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=GENERATE), secret("pump-7-mqtt", password="somebody's"))
    policy = await rig.in_force()
    assert policy.principals["pump-7"].passwords == ()
    assert rig.kube.secret("pump-7-mqtt") == {"password": b"somebody's"}
    told = rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"]
    assert told[:2] == ("False", "SecretNotOurs")
    assert "somebody" not in told[2]


async def test_nothing_is_made_for_a_client_whose_user_name_is_another_s_until_it_is_its_own(rig: PolicyRig) -> None:
    rig.see(client("pump-7", spec__credentials=GENERATE))
    await rig.in_force()
    mine = {"passwords": [{"generate": {"secretName": "rival"}}]}
    rig.see(client("rival", spec__username="pump-7", spec__credentials=mine))
    await rig.in_force()
    told = rig.status(MQTT_CLIENT, "rival")["conditions"]
    assert told["Accepted"][:2] == ("False", "UsernameTaken")
    assert told["ResolvedRefs"][0] == "True"
    assert "create Secret rival" not in rig.kube.writes
    await rig.restart()
    await rig.in_force()
    assert "create Secret rival" not in rig.kube.writes
    rig.kube.take(MQTT_CLIENT, "pump-7")
    await rig.in_force()
    assert rig.kube.writes.count("create Secret rival") == 1
    assert rig.status(MQTT_CLIENT, "rival")["conditions"]["Ready"][0] == "True"


async def test_nothing_is_made_for_two_that_claim_one_user_name_at_once(rig: PolicyRig) -> None:
    for name in ("a", "b"):
        rig.see(client(name, spec__username="u", spec__credentials={"passwords": [{"generate": {"secretName": name}}]}))
    await rig.in_force()
    assert {"create Secret a", "create Secret b"} & set(rig.kube.writes) == set()


async def test_a_secret_of_a_former_client_of_that_name_is_not_ours(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=GENERATE))
    await rig.in_force()
    rig.see(client(spec__credentials=GENERATE, metadata__uid="another"))
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][1] == "SecretNotOurs"


async def test_the_address_in_it_follows_the_broker_and_the_password_stays(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=GENERATE))
    await rig.in_force()
    before = rig.kube.secret("pump-7-mqtt")
    listeners = [{"name": "mqtts", "port": 9999, "tls": {}}]
    rig.see(broker(spec__listeners=listeners), secret("plant-mqtts-tls", **{"ca.crt": "PEM"}))
    await rig.in_force()
    after = rig.kube.secret("pump-7-mqtt")
    assert (after["port"], after["ca.crt"], after["password"]) == (b"9999", b"PEM", before["password"])


async def test_one_that_was_taken_away_is_made_anew(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=GENERATE))
    await rig.in_force()
    before = rig.kube.secret("pump-7-mqtt")["password"]
    rig.kube.take(SECRET, "pump-7-mqtt")
    policy = await rig.in_force()
    after = rig.kube.secret("pump-7-mqtt")["password"]
    assert before != after
    assert lets_in(policy, after)
    assert not lets_in(policy, before)


async def test_a_password_is_replaced_in_time_and_nobody_is_locked_out(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    first = rig.kube.secret("pump-7-mqtt")["password"]
    rig.wait(3600)
    await rig.run()  # staged
    staged = rig.kube.secret("pump-7-mqtt")
    second = staged["next-password"]
    assert staged["password"] == first
    await rig.run()  # hashed
    await rig.run()  # written; nodes do not know it yet
    assert lets_in(rig.store.policy(), second)
    assert rig.kube.secret("pump-7-mqtt")["password"] == first
    policy = await rig.in_force()
    both = rig.kube.secret("pump-7-mqtt")
    assert (both["password"], both["previous-password"]) == (second, first)
    assert "next-password" not in both
    assert lets_in(policy, first)
    assert lets_in(policy, second)
    rig.wait(600)
    policy = await rig.in_force()
    assert "previous-password" not in rig.kube.secret("pump-7-mqtt")
    assert not lets_in(policy, first)
    assert lets_in(policy, second)


async def test_whoever_is_connected_by_a_password_that_was_replaced_in_time_stays(rig: PolicyRig) -> None:
    rig.see(broker(spec__authentication=[{"name": "s", "type": "SCRAM"}, {"name": "p", "type": "Password"}]))
    rig.see(client(spec__credentials=HOURLY))
    first = (await rig.in_force()).principals["pump-7"]
    for _ in range(2):
        rig.wait(3600)
        await rig.in_force()
        rig.wait(600)
        last = (await rig.in_force()).principals["pump-7"]
    assert len(last.passwords) == 1
    assert not {*first.passwords, *first.scram} & {*last.passwords, *last.scram}
    assert {*first.passwords, *first.scram} <= set(last.retired)
    assert len(last.retired) == 6
    await rig.restart()
    assert (await rig.in_force()).principals["pump-7"] == last
    rig.kube.take(SECRET, "pump-7-mqtt")  # whoever means to revoke it takes it away
    revoked = (await rig.in_force()).principals["pump-7"]
    assert not set(last.passwords) & {*revoked.passwords, *revoked.retired}
    rig.see(client(spec__credentials=GENERATE))
    assert (await rig.in_force()).principals["pump-7"].retired == ()


async def test_the_next_look_is_when_a_password_is_due(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    rig.wait(3600 - 10)
    outcome = await rig.run()
    assert outcome.again_s is not None
    assert outcome.again_s <= 5.0


async def test_a_restart_in_the_middle_of_a_replacement_goes_on_with_it(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    rig.wait(3600)
    await rig.run()
    second = rig.kube.secret("pump-7-mqtt")["next-password"]
    await rig.restart()
    policy = await rig.in_force()
    assert rig.kube.secret("pump-7-mqtt")["password"] == second
    assert lets_in(policy, second)


@pytest.mark.parametrize("passes", range(1, 5))
@pytest.mark.parametrize("is_kept", [True, False], ids=["cached", "not cached"])
async def test_another_operator_tells_a_new_password_once_all_nodes_know_it(
    rig: PolicyRig, passes: int, is_kept: bool
) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    first = rig.kube.secret("pump-7-mqtt")["password"]
    rig.wait(3600)
    for _ in range(passes):
        await rig.run()
    second = rig.kube.secret("pump-7-mqtt")["next-password"]
    if not is_kept:
        rig.store.verifiers.clear()
    await rig.restart()
    for _ in range(4):
        await rig.run()
        rig.wait(1.0)
    assert rig.kube.secret("pump-7-mqtt")["password"] == first  # nodes did not follow
    policy = await rig.in_force()
    assert rig.kube.secret("pump-7-mqtt")["password"] == second
    assert lets_in(policy, first)
    assert lets_in(policy, second)


async def test_times_that_somebody_spoilt_count_from_now(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=HOURLY))
    await rig.in_force()
    spoilt = rig.kube.objects["Secret", "mqtt", "pump-7-mqtt"]
    spoilt["metadata"]["annotations"] = {"mqtt.stoa.dev/password-made-at": "yesterday"}
    rig.see(spoilt)
    await rig.in_force()
    annotations = rig.kube.objects["Secret", "mqtt", "pump-7-mqtt"]["metadata"]["annotations"]
    assert annotations["mqtt.stoa.dev/password-made-at"].startswith("2026-01-01T00:00:")


async def test_a_secret_that_the_api_server_refuses_is_told_and_tried_again(
    rig: PolicyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.see(client(spec__credentials=GENERATE))
    refused: list[str] = []
    create = rig.kube.create

    async def refuse(manifest: dict[str, Any], *, manager: str = "") -> dict[str, Any]:
        if manifest["metadata"]["name"] != "pump-7-mqtt":
            return await create(manifest)
        refused.append(manifest["metadata"]["name"])
        raise RefusedError("The API server refused to create secrets mqtt/pump-7-mqtt.", "quota")

    monkeypatch.setattr(rig.kube, "create", refuse)
    await rig.in_force()
    assert "quota" in rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][2]
    assert len(refused) == 1
    monkeypatch.undo()
    rig.wait(AGAIN_S)
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


# Certificates that cert-manager issues


def issued(common_name: str, issuer: str = "device-ca") -> dict[str, Any]:
    """The Secret as cert-manager writes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(10)
        .not_valid_before(moment)
        .not_valid_after(moment + timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    document = secret("pump-7-tls", **{"tls.crt": pem})
    document["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "stoa-operator"}
    return document


async def test_a_certificate_is_asked_for_and_the_issued_one_proves_the_client(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=ISSUED))
    policy = await rig.in_force()
    assert policy.principals["pump-7"].certificates == ()
    wanted = rig.kube.objects["Certificate", "mqtt", "pump-7-tls"]["spec"]
    assert (wanted["commonName"], wanted["issuerRef"]["name"]) == ("pump-7", "device-ca")
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][1] == "CertificatePending"
    assert [each[:3] for each in rig.kube.events] == [("pump-7", "Normal", "CertificateRequested")]
    rig.see(issued("pump-7"))
    policy = await rig.in_force()
    match = CertificateMatch(issuer="CN=device-ca", common_name="pump-7", revoked_serials=("0a",))
    assert policy.principals["pump-7"].certificates == (match,)
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["Ready"][0] == "True"


async def test_a_certificate_for_somebody_else_proves_nothing(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=ISSUED), issued("pump-8"))
    assert (await rig.in_force()).principals["pump-7"].certificates == ()
    garbage = issued("pump-7")
    garbage["data"]["tls.crt"] = "Z2FyYmFnZQ=="
    rig.see(garbage)
    assert (await rig.in_force()).principals["pump-7"].certificates == ()


async def test_a_secret_of_others_is_not_given_to_cert_manager(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=ISSUED), secret("pump-7-tls", **{"tls.crt": "x"}))
    await rig.in_force()
    assert ("Certificate", "mqtt", "pump-7-tls") not in rig.kube.objects
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][1] == "SecretNotOurs"


async def test_a_restart_asks_for_no_certificate_that_is_there(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=ISSUED), issued("pump-7"))
    await rig.in_force()
    await rig.restart()
    await rig.in_force()
    assert rig.kube.writes == []


async def test_a_certificate_that_somebody_took_away_is_asked_for_again(rig: PolicyRig) -> None:
    rig.see(client(spec__credentials=ISSUED), issued("pump-7"))
    await rig.in_force()
    del rig.kube.objects["Certificate", "mqtt", "pump-7-tls"]
    rig.wait(LIST_S)
    await rig.in_force()
    assert ("Certificate", "mqtt", "pump-7-tls") in rig.kube.objects


async def test_without_cert_manager_the_client_is_told(rig: PolicyRig) -> None:
    rig.kube.has_cert_manager = False
    rig.see(client(spec__credentials=ISSUED))
    await rig.in_force()
    told = rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"]
    assert told[0] == "False"
    assert "cert-manager is not installed" in told[2]
    rig.kube.has_cert_manager = True
    rig.wait(LIST_S)
    await rig.in_force()
    assert rig.status(MQTT_CLIENT, "pump-7")["conditions"]["ResolvedRefs"][1] == "CertificatePending"


async def test_an_api_server_that_is_away_keeps_no_policy_waiting(
    rig: PolicyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.see(client(spec__credentials=GENERATE))
    await rig.in_force()
    away = KubeAwayError("The API server does not answer.")

    async def fail(*_: object, **__: object) -> None:
        raise away

    for verb in ("apply", "create", "patch_status"):
        monkeypatch.setattr(rig.kube, verb, fail)
    rig.see(client(spec__credentials=GENERATE, spec__suspended=True))
    await rig.reconciler.reconcile(rig.key)
    assert rig.store.policy().principals["pump-7"].suspended
