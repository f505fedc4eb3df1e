"""What is wrong with issuers: told also while nodes go on with the certificate they have, and asked for seldom."""

from typing import Any

import pytest

from mqtt_api.kinds.certificates import IssuerRef
from mqtt_api.resources import MQTTBroker, parse_document
from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.listener_certificates import CertificatesView, view_certificates, view_issuers
from mqtt_operator.reconcile.observe import Found, ObjectName
from mqtt_operator.reconcile.registry import Registry, Scope
from mqtt_operator.status.verdict import Problem
from support.broker_documents import tls_secret
from unit.mqtt_operator.reconcile.documents import broker

NAME = "plant-mqtts-tls"
TLS = {"issuerRef": {"name": "ca"}}
SERVED = frozenset({kinds.CERTIFICATE})


class Issuers:
    """A Kube that has issuers, and remembers which were asked for."""

    def __init__(self, *names: str, conditions: tuple[Manifest, ...] = ()) -> None:
        self.names = names
        self.conditions = conditions
        self.asked: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self.asked.append(f"{kind.kind} {namespace}/{name}")
        return {"status": {"conditions": [*self.conditions]}} if name in self.names else None


def plant() -> MQTTBroker:
    read = parse_document(broker(spec__listeners=[{"name": "mqtts", "port": 8883, "tls": TLS}]))
    assert isinstance(read, MQTTBroker)
    return read


def registry(*secrets: Manifest) -> Registry:
    known = Registry()
    known.expect(Scope(kinds.SECRET, "mqtt"))
    for each in secrets:
        metadata = {**each["metadata"], "namespace": "mqtt", "uid": "u", "resourceVersion": "1"}
        known.see({**each, "metadata": metadata})
    known.complete(Scope(kinds.SECRET, "mqtt"))
    return known


def found(*conditions: tuple[str, str], issuers: dict[IssuerRef, Problem] | None = None) -> Found:
    """The Certificate with these conditions."""
    told = [{"type": kind, "status": status, "message": "was issued by another"} for kind, status in conditions]
    certificate = {"metadata": {"name": NAME}, "status": {"conditions": told}}
    return Found({ObjectName("Certificate", NAME): certificate}, (), SERVED, issuers or {})


async def viewed(kube: Any, seen: Found, *, there: bool = True) -> CertificatesView:
    known = registry(*([tls_secret(NAME)] if there else []))
    return await view_certificates(kube, plant(), known, seen, {})


def sentence(view: CertificatesView) -> str:
    (each,) = view.seen
    assert each.problem is not None
    return f"{each.problem.reason}: {each.problem.sentence}"


async def test_the_issuer_of_a_certificate_that_is_well_is_not_asked_for() -> None:
    kube = Issuers()
    view = await viewed(kube, found(("Ready", "True")))
    assert (view.seen[0].problem, view.issuers, view.renewing, kube.asked) == (None, (), (), [])


@pytest.mark.parametrize("state", [("Ready", "False"), ("Issuing", "True")], ids=["not ready", "being renewed"])
async def test_a_missing_issuer_keeps_a_certificate_from_being_renewed_and_nothing_else(state: tuple[str, str]) -> None:
    kube = Issuers()
    view = await viewed(kube, found(state))
    assert view.issuers == view.pending == ()
    assert [each.sentence for each in view.renewing] == ["There is no Issuer ca: it is waited for."]
    assert "IssuerNotFound: The certificate of listener mqtts, which nodes go on with until 20" in sentence(view)
    assert "cannot be renewed: make its issuer ready, or correct issuerRef." in sentence(view)
    assert view.seen[0].serial
    assert kube.asked == ["Issuer mqtt/ca"]


async def test_a_missing_issuer_of_a_first_certificate_is_waited_for() -> None:
    view = await viewed(Issuers(), Found({}, (), SERVED), there=False)
    assert [each.reason for each in view.issuers] == ["IssuerNotFound"]
    assert view.renewing == ()
    assert [each.reason for each in view.pending] == ["CertificatePending"]


async def test_an_issuer_that_went_away_is_found_when_all_is_looked_at_and_asked_for_until_it_is_back() -> None:
    """Nobody tells when it goes: cert-manager itself says so only when it has something to issue."""
    kube: Any = Issuers()
    issuers = await view_issuers(kube, plant(), found())
    seen = found(("Ready", "True"), issuers={**issuers})
    assert [each.reason for each in (await viewed(Issuers(), seen)).renewing] == ["IssuerNotFound"]
    assert (await viewed(Issuers("ca"), seen)).renewing == ()


async def test_an_issuer_that_is_not_ready_is_told_too() -> None:
    kube = Issuers("ca", conditions=({"type": "Ready", "status": "False", "message": "no key"},))
    view = await viewed(kube, found(("Ready", "False")))
    assert [each.reason for each in view.renewing] == ["IssuerNotReady"]
    assert sentence(view).endswith("Issuer ca is not ready: no key")


async def test_a_certificate_that_is_not_as_asked_for_is_told_though_its_issuer_is_well() -> None:
    view = await viewed(Issuers("ca"), found(("Ready", "False")))
    assert view.renewing == ()
    assert sentence(view).startswith("NodesServeAnother: Nodes go on with another certificate than listener mqtts asks")
    assert sentence(view).endswith(f"events of Certificate {NAME}: was issued by another")


@pytest.mark.parametrize("there", [True, False], ids=["renewed", "first"])
async def test_without_cert_manager_no_issuer_is_asked_for(there: bool) -> None:
    kube: Any = Issuers()
    bare = Found({}, (), frozenset())
    view = await viewed(kube, bare._replace(issuers=await view_issuers(kube, plant(), bare)), there=there)
    assert [each.reason for each in (view.renewing if there else view.issuers)] == ["CertManagerNotInstalled"]
    assert len((*view.renewing, *view.issuers)) == 1
    assert kube.asked == []
