"""What needs Kubernetes is told once for each field, and everything else of the object holds."""

from typing import Any

import pytest

TLS = {"issuerRef": {"name": "ca"}, "duration": "720h", "dnsNames": ["mqtt.example.org"]}


def noted(folder: Any) -> list[str]:
    """The notes without file and line."""
    return [note.split(": ", 1)[1] for note in folder.read().notes]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", {"repository": "stoa", "tag": "1"}),
        ("imagePullSecrets", [{"name": "registry"}]),
        ("upgradePolicy", "Manual"),
        ("services", [{"name": "public", "listeners": ["mqtts"]}]),
        ("podDisruptionBudget", {"maxUnavailable": 2}),
        ("podTemplate", {"spec": {"priorityClassName": "high"}}),
        ("monitoring", {"dashboards": {"enabled": True}}),
    ],
)
def test_a_part_for_kubernetes_is_accepted_and_noted_once(folder: Any, broker: Any, name: str, value: object) -> None:
    folder.put("a.yaml", broker(**{name: value}))
    assert noted(folder) == [f"spec.{name}: means nothing here; ignored."]


def test_autoscaling_and_a_volume_of_a_store_are_noted(folder: Any, broker: Any) -> None:
    store = {"managed": {"storageClassName": "fast", "resources": {}, "image": {"repository": "valkey", "tag": "8"}}}
    scaling = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 70}
    folder.put("a.yaml", broker(sessionStore=store, autoscaling=scaling))
    assert noted(folder) == [
        "spec.autoscaling: means nothing here; ignored.",
        "spec.sessionStore.managed.storageClassName: means nothing here; ignored.",
        "spec.sessionStore.managed.image: means nothing here; ignored.",
        "spec.sessionStore.managed.resources: means nothing here; ignored.",
    ]


def test_a_volume_of_the_embedded_store_is_noted(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker(sessionStore={"embedded": {"storageClassName": "fast"}}))
    assert noted(folder) == ["spec.sessionStore.embedded.storageClassName: means nothing here; ignored."]


def test_an_issuer_and_peers_of_a_listener_are_noted(folder: Any, broker: Any) -> None:
    peers: list[dict[str, Any]] = [{"namespaceSelector": {}}]
    folder.put("a.yaml", broker(listeners=[{"name": "mqtts", "port": 8883, "tls": TLS, "networkPolicyPeers": peers}]))
    assert noted(folder) == [
        "spec.listeners[0].networkPolicyPeers: means nothing here; ignored.",
        "spec.listeners[0].tls.issuerRef: means nothing here: the local CA issues the certificate.",
    ]


def test_credentials_that_nobody_renews_here_are_noted(folder: Any, broker: Any, client: Any) -> None:
    credentials = {
        "passwords": [{"generate": {"secretName": "a", "every": "720h", "overlap": "1h"}}],
        "certificates": [{"issuerRef": {"name": "ca"}, "secretName": "b"}],
    }
    folder.put("a.yaml", broker(), client(credentials=credentials, deletionPolicy="Delete"))
    assert noted(folder) == [
        "spec.credentials.passwords[0].generate.every: means nothing here: the password stays as it is.",
        (
            "spec.credentials.certificates[0].issuerRef: "
            "means nothing here: bring a certificate of a CA in clientCARefs, for CN=pump-7."
        ),
        "spec.deletionPolicy: means nothing here: its sessions stay until they expire.",
    ]


def test_keeping_data_is_what_happens_here_too_and_deleting_it_is_noted(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", broker(deletionPolicy="Retain"), client(deletionPolicy="Retain"))
    assert noted(folder) == []
    folder.put("a.yaml", broker(deletionPolicy="Delete"), client())
    assert noted(folder) == ["spec.deletionPolicy: means nothing here: the data folder stays."]


def test_a_note_names_file_and_line(folder: Any, broker: Any) -> None:
    path = folder.put("a.yaml", broker(upgradePolicy="Manual"))
    (note,) = folder.read().notes
    line = 1 + path.read_text("utf-8").splitlines().index("  upgradePolicy: Manual")
    assert note.startswith(f"{path}:{line}: spec.upgradePolicy")
