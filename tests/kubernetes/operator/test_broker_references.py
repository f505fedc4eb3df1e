"""What a broker refers to: waited for by name when it is missing, told when it cannot be used, never written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mqtt_operator.credentials.certificates import KeyPair, issue_ca, issue_server
from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from support.broker_documents import CA, SHARED, secret, tls_secret
from support.broker_rig import BrokerRig
from support.resource_examples import changed

MUTUAL = {
    "spec.listeners[0].tls": {
        "secretRef": {"name": "server"},
        "clientAuth": "Required",
        "clientCARefs": [{"kind": "ConfigMap", "name": "devices", "key": "ca.crt"}],
        "crl": {"ref": {"kind": "Secret", "name": "revoked", "key": "crl.pem"}},
    }
}
REDIS = {
    "spec.sessionStore": {
        "redis": {
            "addresses": ["redis:6379"],
            "credentialsRef": {"name": "r", "usernameKey": "username"},
            "operatorCredentialsRef": {"name": "r-op"},
            "tls": {"caRefs": [{"kind": "Secret", "name": "r-ca", "key": "ca.crt"}]},
        }
    }
}
OLD_CA = {"kind": "ConfigMap", "name": "devices", "key": "ca.crt"}
NEXT_CA = {"kind": "Secret", "name": "next", "key": "both.pem"}
DEVICES: Manifest = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "devices"},
    "data": {"ca.crt": CA.certificate.decode()},
}


async def started(rig: BrokerRig, document: Manifest = SHARED) -> None:
    await rig.declare(tls_secret())
    await rig.declare(document)
    await rig.settle()
    rig.kube.writes.clear()
    rig.kube.events.clear()


@pytest.mark.parametrize(
    ("changes", "there", "reason", "sentence"),
    [
        pytest.param(
            {},
            [],
            "SecretNotFound",
            "spec.listeners[0].tls.secretRef names Secret {}/server, which does not exist: it is waited for.",
            id="a certificate",
        ),
        pytest.param(
            {},
            [secret("server", {"tls.crt": b"x"})],
            "KeyNotFound",
            "spec.listeners[0].tls.secretRef names Secret {}/server, which needs the entries tls.crt and tls.key.",
            id="a certificate without its key",
        ),
        pytest.param(
            {},
            [secret("server", {"tls.crt": b"garbage", "tls.key": b"garbage"})],
            "InvalidContent",
            "spec.listeners[0].tls.secretRef names Secret {}/server, where the certificate is not PEM; nodes go on "
            "with the one they have.",
            id="a certificate that is none",
        ),
        pytest.param(
            MUTUAL,
            [tls_secret()],
            "ConfigMapNotFound",
            "spec.listeners[0].tls.clientCARefs[0] names ConfigMap {0}/devices, which does not exist: it is waited "
            "for. spec.listeners[0].tls.crl.ref names Secret {0}/revoked, which does not exist: it is waited for.",
            id="a CA and a revocation list",
        ),
        pytest.param(
            MUTUAL,
            [tls_secret(), DEVICES, secret("revoked", {"crl.pem": b"garbage"})],
            "InvalidContent",
            "spec.listeners[0].tls.crl.ref names Secret {}/revoked, entry crl.pem, which is not a certificate "
            "revocation list in PEM.",
            id="a revocation list that is none",
        ),
        pytest.param(
            REDIS,
            [tls_secret(), secret("r", {"username": b"u", "password": b"p"}), secret("r-op", {"pass": b"p"})],
            "KeyNotFound",
            "spec.sessionStore.redis.operatorCredentialsRef names Secret {0}/r-op, which has no entry password. "
            "spec.sessionStore.redis.tls.caRefs[0] names Secret {0}/r-ca, which does not exist: it is waited for.",
            id="log-ins and the CA of the store",
        ),
        pytest.param(
            REDIS,
            [
                tls_secret(),
                secret("r", {"username": b"\xff", "password": b"p"}),
                secret("r-op", {"password": b"p"}),
                secret("r-ca", {"ca.crt": CA.certificate}),
            ],
            "KeyNotFound",
            "Secret r has no entry username with text in it.",
            id="a user name that is no text",
        ),
        pytest.param(
            {"spec.imagePullSecrets": [{"name": "pull"}]},
            [tls_secret()],
            "SecretNotFound",
            "spec.imagePullSecrets[0] names Secret {}/pull, which does not exist: it is waited for.",
            id="a pull secret",
        ),
    ],
)
async def test_what_is_missing_is_named_and_nothing_is_made(
    changes: dict[str, Any], there: list[Manifest], reason: str, sentence: str, rig: BrokerRig
) -> None:
    for each in there:
        await rig.declare(each)
    await rig.declare(changed(SHARED, changes))
    await rig.run()
    told = ("False", reason, sentence.format(rig.key.namespace))
    assert await rig.condition("ResolvedRefs") == told
    assert await rig.condition("Ready") == told
    assert (await rig.condition("Stalled"))[0] == ("True" if reason == "InvalidContent" else "False")
    assert await rig.get(kinds.STATEFUL_SET, "plant") is None
    assert {write.split()[0] for write in rig.kube.writes} == {"status"}


async def test_what_was_missing_and_comes_is_used(rig: BrokerRig) -> None:
    await rig.declare(changed(SHARED, {**MUTUAL, **REDIS}))
    await rig.run()
    await rig.declare(tls_secret())
    await rig.declare(DEVICES)
    await rig.declare(secret("r", {"username": b"nodes", "password": b"p"}))
    await rig.declare(secret("r-op", {"password": b"the operator's\n"}))
    await rig.declare(secret("r-ca", {"ca.crt": CA.certificate}))
    await rig.declare(changed(SHARED, {"spec.listeners[0].tls": {**MUTUAL["spec.listeners[0].tls"]}, **REDIS}))
    broker = await rig.broker()
    del broker["spec"]["listeners"][0]["tls"]["crl"]
    await rig.raw.patch(
        kinds.MQTT_BROKER, *rig.key, {"spec": {"listeners": broker["spec"]["listeners"]}}, manager="somebody"
    )
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"
    settings = rig.store.looked_with[-1]
    assert settings.addresses == (f"redis.{rig.key.namespace}.svc:6379",)
    assert settings.username is None
    assert settings.password_file is not None
    file = rig.folder / f"{rig.key.namespace}.plant" / "operator.password"
    assert (str(file), file.read_text(), file.stat().st_mode & 0o777) == (
        settings.password_file,
        "the operator's",
        0o600,
    )
    assert settings.tls is not None
    assert len(settings.tls.ca_files) == 1


async def test_cas_of_clients_are_gathered_and_another_list_of_them_replaces_no_node(rig: BrokerRig) -> None:
    """Private keys that lie beside a CA are nobody's business."""
    other = issue_ca("next", datetime.now(UTC))
    await rig.declare(DEVICES)
    await rig.declare(secret("next", {"both.pem": other.certificate + other.key}))
    await started(rig, verifying(OLD_CA))
    assert await gathered(rig) == {"mqtts.crt": CA.certificate.decode()}

    await rig.declare(verifying(OLD_CA, NEXT_CA))
    await rig.settle()
    assert await gathered(rig) == {"mqtts.crt": (CA.certificate + other.certificate).decode()}
    assert rig.kube.writes.count("patch Pod plant-0") == 1

    await rig.declare(verifying(NEXT_CA))
    await rig.settle()
    assert await gathered(rig) == {"mqtts.crt": other.certificate.decode()}
    assert rig.workloads.deleted == []


async def test_cas_that_turn_to_garbage_or_go_away_stay_in_force(rig: BrokerRig) -> None:
    await rig.declare(DEVICES)
    await started(rig, verifying(OLD_CA))
    await rig.declare({**DEVICES, "data": {"ca.crt": "garbage"}})
    await rig.run()
    assert (await rig.condition("ResolvedRefs"))[:2] == ("False", "InvalidContent")
    await rig.raw.delete(kinds.CONFIG_MAP, rig.key.namespace, "devices")
    await rig.run()
    assert (await rig.condition("ResolvedRefs"))[:2] == ("False", "ConfigMapNotFound")
    assert await gathered(rig) == {"mqtts.crt": CA.certificate.decode()}


def verifying(*refs: dict[str, str]) -> Manifest:
    tls = {"secretRef": {"name": "server"}, "clientAuth": "Required", "clientCARefs": [*refs]}
    return changed(SHARED, {"spec.listeners[0].tls": tls})


async def gathered(rig: BrokerRig) -> dict[str, str]:
    found = await rig.get(kinds.CONFIG_MAP, "plant-client-cas")
    assert found is not None
    return dict(found["data"])


async def test_a_certificate_that_turns_to_garbage_changes_nothing_but_the_status(rig: BrokerRig) -> None:
    await started(rig)
    served = (await rig.status())["certificates"]
    await rig.declare(secret("server", {"tls.crt": b"garbage", "tls.key": b"garbage"}, kind="kubernetes.io/tls"))
    for _ in range(3):
        await rig.run()
        await rig.play()
    assert rig.kube.writes == ["status MQTTBroker plant"]
    assert (await rig.condition("CertificatesReady"))[:2] == ("False", "CertificateInvalid")
    assert (await rig.condition("ResolvedRefs"))[:2] == ("False", "InvalidContent")
    assert ("Warning", "CertificateInvalid") in [event[:2] for event in rig.kube.events]
    assert (await rig.status())["readyReplicas"] == 3
    assert (await rig.status())["certificates"] == served
    await rig.declare(tls_secret())
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_a_new_certificate_is_brought_to_the_pods_at_once_and_counted_until_all_serve_it(rig: BrokerRig) -> None:
    await started(rig)
    before = (await rig.status())["certificates"][0]
    assert before["nodesServing"] == 3
    await rig.declare(tls_secret())
    await rig.run()
    assert [write for write in rig.kube.writes if not write.startswith("status")] == [
        "patch Pod plant-0",
        "patch Pod plant-1",
        "patch Pod plant-2",
    ]
    status = (await rig.status())["certificates"][0]
    assert status["serial"] != before["serial"]
    assert (status["nodesServing"], status["nodesTotal"]) == (0, 3)
    assert (await rig.condition("CertificatesReady"))[:2] == ("False", "NodesServeAnother")
    assert (await rig.condition("Ready"))[0] == "True"  # nobody is kept out meanwhile
    await rig.play_nodes()
    await rig.run()
    assert (await rig.condition("CertificatesReady"))[:2] == ("True", "AllServed")
    assert [event[:2] for event in rig.kube.events] == [("Normal", "CertificateReloaded")]


@pytest.mark.parametrize(
    ("age", "reason", "ready"),
    [
        pytest.param(timedelta(days=60), "AllServed", "True", id="renewal is not late yet"),
        pytest.param(timedelta(days=80), "CertificateExpiring", "True", id="renewal is late"),
        pytest.param(timedelta(days=91), "CertificateExpired", "False", id="it has expired"),
    ],
)
async def test_the_end_of_a_certificate_is_a_condition(age: timedelta, reason: str, ready: str, rig: BrokerRig) -> None:
    await rig.declare(tls_secret(begins=datetime.now(UTC) - age))
    await rig.declare(SHARED)
    for _ in range(8):
        await rig.run()
        await rig.play()
    assert (await rig.condition("CertificatesReady"))[1] == reason
    assert (await rig.condition("Ready"))[0] == ready


async def test_an_image_from_elsewhere_is_refused_and_nothing_is_made(rig: BrokerRig) -> None:
    await rig.declare(tls_secret())
    elsewhere = {"repository": "evil.example.org/miner", "tag": "latest"}
    await rig.declare(changed(SHARED, {"spec.image": elsewhere}))
    await rig.run()
    assert (await rig.condition("Accepted"))[:2] == ("False", "ImageNotAllowed")
    assert (await rig.condition("Stalled"))[:2] == ("True", "ImageNotAllowed")
    assert "evil.example.org/miner" in (await rig.condition("Ready"))[2]
    assert {write.split()[0] for write in rig.kube.writes} == {"status"}


async def test_a_listener_whose_certificate_would_come_from_nowhere_is_refused(rig: BrokerRig) -> None:
    await rig.declare(changed(SHARED, {"spec.listeners[0].tls": {}}))
    await rig.run()
    assert (await rig.condition("Accepted"))[:2] == ("False", "NoCertificateSource")


# cert-manager ----------------------------------------------------------------------------------------------------

ISSUED = changed(SHARED, {"spec.listeners[0].tls": {"issuerRef": {"name": "ca"}}})
ISSUER: Manifest = {
    "apiVersion": "cert-manager.io/v1",
    "kind": "Issuer",
    "metadata": {"name": "ca"},
    "spec": {"ca": {"secretName": "ca"}},
}


async def issue(rig: BrokerRig, pair: KeyPair) -> None:
    """What cert-manager does."""
    await rig.declare(tls_secret("plant-mqtts-tls", pair=pair))


async def test_a_certificate_is_asked_for_and_nodes_wait_for_it(rig: BrokerRig) -> None:
    await rig.declare(ISSUER)
    await rig.declare(ISSUED)
    for _ in range(3):
        await rig.run()
        await rig.play()
    certificate = await rig.get(kinds.CERTIFICATE, "plant-mqtts-tls")
    assert certificate is not None
    assert f"plant.{rig.key.namespace}.svc" in certificate["spec"]["dnsNames"]
    assert await rig.get(kinds.STATEFUL_SET, "plant") is None
    assert (await rig.condition("CertificatesReady"))[:2] == ("False", "CertificatePending")
    assert (await rig.condition("Reconciling"))[:2] == ("True", "CertificatePending")
    await issue(rig, issue_server(CA, ["plant"], datetime.now(UTC)))
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"


async def test_an_issuer_that_is_missing_is_waited_for_and_named(rig: BrokerRig) -> None:
    await rig.declare(ISSUED)
    await rig.run()
    assert await rig.condition("ResolvedRefs") == (
        "False",
        "IssuerNotFound",
        "There is no Issuer ca: it is waited for.",
    )
    assert await rig.get(kinds.CERTIFICATE, "plant-mqtts-tls") is None
    await rig.declare(ISSUER)
    await rig.run()
    assert (await rig.condition("ResolvedRefs"))[0] == "True"
    assert await rig.get(kinds.CERTIFICATE, "plant-mqtts-tls") is not None


async def test_an_issuer_that_is_not_ready_is_quoted(rig: BrokerRig) -> None:
    await rig.declare(ISSUER)
    told = {"type": "Ready", "status": "False", "reason": "Nope", "message": "secret ca is not there"}
    await rig.raw.patch_status(kinds.ISSUER, rig.key.namespace, "ca", {"conditions": [told]}, manager="cert-manager")
    await rig.declare(ISSUED)
    await rig.run()
    message = "Issuer ca is not ready: secret ca is not there"
    assert await rig.condition("ResolvedRefs") == ("False", "IssuerNotReady", message)


async def test_a_certificate_that_cannot_be_issued_is_stalled_with_the_words_of_its_issuer(rig: BrokerRig) -> None:
    await rig.declare(ISSUER)
    await rig.declare(ISSUED)
    await rig.run()
    failed = {
        "type": "Issuing",
        "status": "False",
        "reason": "Failed",
        "message": "the name is on a blocklist",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await rig.raw.patch_status(
        kinds.CERTIFICATE, rig.key.namespace, "plant-mqtts-tls", {"conditions": [failed]}, manager="cert-manager"
    )
    await rig.run()
    status, reason, message = await rig.condition("Stalled")
    assert (status, reason) == ("True", "IssuanceFailed")
    assert message.endswith("the certificate of listener mqtts: the name is on a blocklist")
    assert (await rig.condition("CertificatesReady"))[:2] == ("False", "IssuanceFailed")
    assert ("Warning", "IssuanceFailed") in [event[:2] for event in rig.kube.events]


async def test_an_issuer_that_is_missing_is_told_while_the_certificate_before_is_served(rig: BrokerRig) -> None:
    await rig.declare(ISSUER)
    await rig.declare(tls_secret("plant-mqtts-tls"))
    await rig.declare(ISSUED)
    await rig.settle()
    assert await rig.condition("ResolvedRefs") == ("True", "Resolved", "Everything that it refers to is there.")

    await rig.declare(changed(ISSUED, {"spec.listeners[0].tls.issuerRef.name": "cca"}))
    await rig.settle()
    await missing_is_told(rig, "cca")
    certificate = await rig.get(kinds.CERTIFICATE, "plant-mqtts-tls")
    assert certificate is not None
    assert certificate["spec"]["issuerRef"]["name"] == "cca"

    await rig.declare(ISSUED)
    await rig.settle()
    assert (await rig.condition("CertificatesReady"))[:2] == ("True", "AllServed")

    await rig.raw.delete(kinds.ISSUER, rig.key.namespace, "ca")
    await rig.settle()
    await missing_is_told(rig, "ca")
    await rig.declare(ISSUER)
    await rig.settle()
    assert (await rig.condition("ResolvedRefs"))[0] == "True"


async def missing_is_told(rig: BrokerRig, name: str) -> None:
    told = f"There is no Issuer {name}: it is waited for."
    assert await rig.condition("ResolvedRefs") == ("False", "IssuerNotFound", told)
    status, reason, message = await rig.condition("CertificatesReady")
    assert (status, reason) == ("False", "IssuerNotFound")
    assert message.endswith(f"cannot be renewed: make its issuer ready, or correct issuerRef. {told}")
    assert (await rig.condition("Ready"))[:2] == ("True", "AllReady")


async def test_a_listener_that_is_added_later_waits_for_its_certificate_and_the_nodes_go_on(rig: BrokerRig) -> None:
    await started(rig)
    await rig.declare(ISSUER)
    more = {"name": "wss", "port": 8884, "protocol": "WebSocket", "tls": {"issuerRef": {"name": "ca"}}}
    document = changed(SHARED, {"spec.listeners[1]": more})
    await rig.declare(document)
    for _ in range(3):
        await rig.run()
        await rig.play()
    assert rig.workloads.deleted == []
    assert rig.workloads.made == ["plant-0", "plant-1", "plant-2"]
    assert (await rig.status())["readyReplicas"] == 3
    await rig.declare(tls_secret("plant-wss-tls"))
    await rig.settle()
    assert (await rig.condition("Ready"))[0] == "True"
