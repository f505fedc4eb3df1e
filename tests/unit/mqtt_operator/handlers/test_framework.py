"""The framework as we tune it: what it writes into objects, and what it asks for."""

from unittest.mock import AsyncMock, Mock

import kopf
import pytest

from mqtt_operator.handlers.framework import END, Framework, NoDiffBase, connection_info, tuned
from mqtt_operator.kube.session import Login
from mqtt_operator.reconcile.seen import BOOKKEEPING
from mqtt_operator.settings import read_settings

LOGIN = Login("https://api:6443", "/ca.crt", "opensesame", None, None, verify=True, proxy=None)


def test_its_notes_are_under_our_name_and_it_keeps_no_copy_of_what_it_saw() -> None:
    persistence = tuned().persistence
    assert persistence.finalizer == "mqtt.stoa.dev/finalizer"
    assert isinstance(persistence.diffbase_storage, NoDiffBase)
    storage = persistence.progress_storage
    assert isinstance(storage, kopf.AnnotationsProgressStorage)
    patch = kopf.Patch()
    body = kopf.Body({"metadata": {}, "spec": {"password": "opensesame"}})
    storage.store(key=END, record={"started": "now"}, body=body, patch=patch)  # type: ignore[arg-type]
    storage.touch(body=body, patch=patch, value="now")
    persistence.diffbase_storage.store(body=body, patch=patch, essence=persistence.diffbase_storage.build(body=body))
    assert patch["metadata"]["annotations"].keys() <= BOOKKEEPING  # which wakes no story
    assert "opensesame" not in str(patch)
    assert persistence.diffbase_storage.fetch(body=body) is None


def test_it_posts_no_events_and_looks_for_no_kinds_and_no_namespaces() -> None:
    """Each of them would need rights that nothing else here does."""
    settings = tuned()
    assert not settings.posting.enabled
    assert not settings.posting.loggers
    assert settings.scanning.disabled


def test_nothing_that_it_waits_for_is_waited_for_without_end() -> None:
    settings = tuned()
    waits = [
        settings.networking.request_timeout,
        settings.networking.connect_timeout,
        settings.watching.connect_timeout,
        settings.watching.server_timeout,
        settings.watching.inactivity_timeout,
        settings.background.instant_exit_timeout,
    ]
    assert None not in waits
    assert settings.watching.inactivity_timeout >= 75  # bookmarks come once a minute


@pytest.mark.parametrize("verify", [True, False])
def test_it_logs_in_as_whoever_we_are(verify: bool) -> None:
    info = connection_info(LOGIN._replace(verify=verify, certificate_file="/tls.crt", key_file="/tls.key"))
    assert (info.server, info.ca_path, info.token) == ("https://api:6443", "/ca.crt", "opensesame")
    assert (info.certificate_path, info.private_key_path, info.insecure) == ("/tls.crt", "/tls.key", not verify)


def test_it_handles_nothing_but_the_end_of_brokers() -> None:
    """A daemon would hold every broker by the finalizer."""
    settings = read_settings(["--broker-image", "stoa:1", "--namespace", "mqtt"], {})
    registry = Framework(settings, login=AsyncMock(), stories=Mock())._registry()
    assert not registry._spawning.get_all_handlers()
    assert not registry._watching.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
    (handler,) = registry._changing.get_all_handlers()
    assert (handler.id, handler.reason, handler.requires_finalizer) == (END, kopf.Reason.DELETE, True)
    assert handler.when is not None
