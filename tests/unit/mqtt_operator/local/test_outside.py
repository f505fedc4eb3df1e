"""The edges to the machine: ports, notices of the file system, a node's own status."""

import errno
from pathlib import Path

import pytest
from watchfiles import Change

from mqtt_api.node_settings import ListenerSettings
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local import ports
from mqtt_operator.local.node_status import ListenerStatus, NodeStatus, decode_status
from mqtt_operator.local.watch import concerns

LISTENER = ListenerSettings(name="mqtts", host="127.0.0.1", port=8883)


@pytest.mark.parametrize(
    ("number", "what", "to_do"),
    [
        (errno.EADDRINUSE, "Port 8883 is in use by another program.", "choose another port"),
        (errno.EACCES, "Port 8883 may not be opened by your user.", "choose one above"),
        (errno.EADDRNOTAVAIL, "Port 8883 cannot be opened at this address.", "--host"),
        (errno.EMFILE, "Port 8883 cannot be opened: Too many open files.", "Choose another port"),
    ],
)
def test_a_port_that_cannot_be_opened_names_listener_and_next_step(
    monkeypatch: pytest.MonkeyPatch, number: int, what: str, to_do: str
) -> None:
    refusal = OSError(number, "Too many open files")
    monkeypatch.setattr(ports, "_refusal", lambda _: refusal)
    with pytest.raises(ExpectedError) as refused:
        ports.check_ports([LISTENER])
    assert refused.value.what == what
    assert "the one named mqtts" in refused.value.where
    assert to_do in refused.value.to_do


def test_free_ports_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_refusal", lambda _: None)
    ports.check_ports([LISTENER])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.yaml", True),
        ("deeper/a.yml", True),
        ("a-folder-that-moved", True),
        ("notes.txt", False),
        (".stoa/plant/policy.yaml", False),
        ("deeper/.a.yaml.swp", False),
        (".a.yaml", False),
    ],
)
def test_only_what_would_be_read_wakes_the_reconciler(path: str, expected: bool) -> None:
    folder = Path("/home/.hidden/folder")
    assert concerns(folder, Change.modified, str(folder / path)) is expected


def test_a_status_document_is_read_and_what_is_unknown_in_it_is_let_through() -> None:
    document = (
        b'{"node":"plant-0","ready":true,"policy_revision":3,"connections":1,"new":{},'
        b'"listeners":{"mqtts":{"port":8883,"connections":1,"serial":"0a","not_after":"2027"}}}'
    )
    assert decode_status(document) == NodeStatus(
        node="plant-0",
        ready=True,
        policy_revision=3,
        connections=1,
        listeners={"mqtts": ListenerStatus(port=8883, connections=1, serial="0a", not_after="2027")},
    )


@pytest.mark.parametrize("document", [b"", b"[]", b'{"connections":"many"}'])
def test_what_is_no_status_is_none(document: bytes) -> None:
    assert decode_status(document) is None
