"""The door to the API server: requests, second attempts, deadlines; over a session that answers by a script."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.api import CALL_S_MAX, ApiKube
from mqtt_operator.kube.events import EventSource
from mqtt_operator.kube.place import ExpiredError, Place, UnservedError
from mqtt_operator.kube.port import (
    Call,
    ConflictError,
    EventType,
    ForbiddenError,
    Kube,
    KubeAwayError,
    Propagation,
    RefusedError,
)
from mqtt_operator.kube.session import (
    APPLY_PATCH,
    MERGE_PATCH,
    Answer,
    LoginError,
    NoAnswerError,
    NoStreamError,
    NotTrustedError,
    Request,
    Session,
)

CONFIG_MAP: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "mqtt"}}
BROKER: Manifest = {"apiVersion": "mqtt.stoa.dev/v1alpha1", "kind": "MQTTBroker", "metadata": {"name": "plant"}}
Step = Answer | Exception


def answer(body: Any, code: int = 200, retry_after_s: float | None = None) -> Answer:
    return Answer(code, retry_after_s, json.dumps(body).encode())


def status(code: int, message: str = "") -> Answer:
    return answer({"kind": "Status", "code": code, "message": message}, code)


class ScriptedSession(Session):
    """Answers one request after the other, and keeps them."""

    def __init__(self, *steps: Step) -> None:
        super().__init__()
        self.steps = list(steps)
        self.requests: list[Request] = []
        self.reloads = 0
        self.stream: Iterable[bytes] | Exception = ()

    async def request(self, request: Request, *, seconds_max: float) -> Answer:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def lines(self, request: Request, *, silence_s_max: float) -> Any:
        self.requests.append(request)
        if isinstance(self.stream, Exception):
            raise self.stream
        for line in self.stream:
            yield line

    async def reload(self) -> None:
        self.reloads += 1
        if self.reloads > 1:
            raise LoginError("no token")


class Door:
    """A kube over a script; `slept` are its pauses, which cost no time."""

    def __init__(self, *steps: Step, call_s_max: float = CALL_S_MAX) -> None:
        self.session = ScriptedSession(*steps)
        self.slept: list[float] = []
        self.kube = ApiKube(
            self.session, EventSource("stoa-operator", "operator-0"), call_s_max=call_s_max, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @property
    def request(self) -> Request:
        (request,) = self.session.requests
        return request


def test_it_keeps_the_contract_of_the_port() -> None:
    kube: Kube = Door().kube
    assert kube.calls() == frozenset()


async def test_an_object_is_got_by_its_path_and_nothing_is_none() -> None:
    door = Door(answer(CONFIG_MAP))
    assert await door.kube.get(kinds.CONFIG_MAP, "mqtt", "a") == CONFIG_MAP
    assert (door.request.method, door.request.path) == ("GET", "/api/v1/namespaces/mqtt/configmaps/a")
    assert await Door(status(404)).kube.get(kinds.CONFIG_MAP, "mqtt", "a") is None


async def test_a_list_is_read_page_by_page_and_its_items_say_what_they_are() -> None:
    pages = [
        {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]},
        {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]},
    ]
    door = Door(*(answer(page) for page in pages))
    found = await door.kube.list(kinds.CONFIG_MAP, "mqtt", "a=b", fields="metadata.name=x")
    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [("ConfigMap", "a"), ("ConfigMap", "b")]
    first, second = door.session.requests
    assert first.query == {"labelSelector": "a=b", "fieldSelector": "metadata.name=x", "limit": "500"}
    assert second.query == {**first.query, "continue": "next"}


async def test_a_list_whose_next_page_is_gone_is_begun_anew() -> None:
    """Half of a list would be half of the objects."""
    half = answer({"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]})
    whole = answer({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})
    found = await Door(half, status(410), whole).kube.list(kinds.CONFIG_MAP, "mqtt")
    assert [item["metadata"]["name"] for item in found] == ["b"]


async def test_a_kind_that_is_not_served_has_no_objects() -> None:
    assert await Door(status(404)).kube.list(kinds.CERTIFICATE, "") == []
    with pytest.raises(UnservedError, match=r"certificates in cert-manager\.io/v1"):
        async for _ in Door(status(404)).kube.pages(Place(kinds.CERTIFICATE)):
            pass


async def test_an_apply_is_forced_under_its_manager() -> None:
    door = Door(answer(CONFIG_MAP))
    await door.kube.apply(CONFIG_MAP, manager="someone")
    request = door.request
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/mqtt/configmaps/a")
    assert (request.content_type, request.body) == (APPLY_PATCH, CONFIG_MAP)
    assert request.query == {"fieldManager": "someone", "force": "true"}
    assert door.kube.calls() == {Call("patch", "", "configmaps"), Call("create", "", "configmaps")}


async def test_an_apply_may_leave_the_fields_of_others_alone() -> None:
    door = Door(status(409, "conflict with someone"))
    with pytest.raises(ConflictError):
        await door.kube.apply(CONFIG_MAP, force=False)
    assert door.request.query["force"] == "false"


async def test_a_create_finds_out_that_somebody_was_quicker() -> None:
    door = Door(answer(CONFIG_MAP, 201), status(409, "already exists"))
    assert await door.kube.create(CONFIG_MAP) == CONFIG_MAP
    with pytest.raises(ConflictError):
        await door.kube.create(CONFIG_MAP)
    assert {(request.method, request.path) for request in door.session.requests} == {
        ("POST", "/api/v1/namespaces/mqtt/configmaps")
    }


async def test_a_patch_merges_and_finds_nothing_to_merge_into() -> None:
    door = Door(status(404))
    assert await door.kube.patch(kinds.CONFIG_MAP, "mqtt", "a", {"data": {"x": None}}) is None
    assert (door.request.content_type, door.request.body) == (MERGE_PATCH, {"data": {"x": None}})


async def test_a_status_is_applied_to_the_subresource_by_the_manager_of_statuses() -> None:
    door = Door(answer(BROKER))
    await door.kube.patch_status(kinds.MQTT_BROKER, "mqtt", "plant", {"readyReplicas": 1})
    request = door.request
    assert request.path.endswith("/namespaces/mqtt/mqttbrokers/plant/status")
    assert request.query == {"fieldManager": "stoa-operator-status", "force": "true"}
    assert request.body == {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTBroker",
        "metadata": {"name": "plant", "namespace": "mqtt"},
        "status": {"readyReplicas": 1},
    }
    assert door.kube.calls() == {Call("patch", "mqtt.stoa.dev", "mqttbrokers", "status")}


async def test_a_deletion_names_whom_it_means_and_what_happens_to_the_rest() -> None:
    door = Door(answer({"kind": "Status"}))
    kube = door.kube
    assert await kube.delete(
        kinds.POD, "mqtt", "plant-0", uid="1", resource_version="2", propagation=Propagation.ORPHAN
    )
    assert door.request.body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "1", "resourceVersion": "2"},
    }
    assert not await Door(status(404)).kube.delete(kinds.POD, "mqtt", "plant-0")


async def test_what_is_refused_is_said_in_the_words_of_the_api_server_and_not_tried_again() -> None:
    door = Door(status(422, "spec.replicas: must be greater than 0"))
    with pytest.raises(RefusedError) as refusal:
        await door.kube.apply(CONFIG_MAP)
    assert refusal.value.reason == "spec.replicas: must be greater than 0"
    assert door.slept == []


async def test_a_right_that_is_missing_is_not_asked_for_again() -> None:
    with pytest.raises(ForbiddenError):
        await Door(status(403, 'x is forbidden: User "y" cannot')).kube.get(kinds.SECRET, "mqtt", "a")


@pytest.mark.parametrize("later", [status(429), status(500), status(503), NoAnswerError("connection reset")])
async def test_later_is_tried_again_after_a_pause(later: Step) -> None:
    door = Door(later, later, answer(CONFIG_MAP))
    assert await door.kube.get(kinds.CONFIG_MAP, "mqtt", "a") == CONFIG_MAP
    assert len(door.slept) == 2
    assert door.slept[0] <= 0.1 < 0.1 + door.slept[1] <= 0.3


async def test_the_pause_is_as_long_as_the_api_server_asks_for() -> None:
    door = Door(answer({}, 429, retry_after_s=3.0), answer(CONFIG_MAP))
    await door.kube.get(kinds.CONFIG_MAP, "mqtt", "a")
    assert door.slept == [3.0]


@pytest.mark.parametrize(
    ("step", "words"), [(NoAnswerError("connection refused"), "cannot be reached"), (status(503), "code 503")]
)
async def test_past_its_deadline_a_call_gives_up(step: Step, words: str) -> None:
    door = Door(step, call_s_max=0.05)
    with pytest.raises(KubeAwayError, match=words):
        await door.kube.get(kinds.CONFIG_MAP, "mqtt", "a")


@pytest.mark.parametrize("step", [status(401), NotTrustedError("certificate verify failed")])
async def test_a_log_in_that_is_not_accepted_is_read_anew(step: Step) -> None:
    """A token that was rotated; and a source of log-ins that fails does not end the call."""
    door = Door(step, step, answer(CONFIG_MAP))
    assert await door.kube.get(kinds.CONFIG_MAP, "mqtt", "a") == CONFIG_MAP
    assert door.session.reloads == 2


async def test_an_answer_that_is_no_json_is_no_answer() -> None:
    with pytest.raises(KubeAwayError, match="no JSON"):
        await Door(Answer(200, None, b"<html>")).kube.get(kinds.CONFIG_MAP, "mqtt", "a")


async def test_no_more_calls_are_under_way_than_may_be() -> None:
    under_way, most = 0, 0
    go_on = asyncio.Event()

    class Slow(ScriptedSession):
        async def request(self, request: Request, *, seconds_max: float) -> Answer:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await go_on.wait()
            under_way -= 1
            return answer(CONFIG_MAP)

    kube = ApiKube(Slow(), EventSource("a", "b"), calls_max=2)
    calls = [asyncio.create_task(kube.get(kinds.CONFIG_MAP, "mqtt", "a")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert under_way == 2
    go_on.set()
    await asyncio.gather(*calls)
    assert most == 2


async def test_which_kinds_are_served_is_asked_once_a_minute() -> None:
    door = Door(answer({"resources": [{"name": "certificates"}, {"name": "certificates/status"}]}), status(404))
    assert await door.kube.serves(kinds.CERTIFICATE)
    assert not await door.kube.serves(kinds.ISSUER)
    assert door.request.path == "/apis/cert-manager.io/v1"
    assert not await door.kube.serves(kinds.SERVICE_MONITOR)
    assert door.kube.calls() == frozenset()  # everybody may ask that


async def test_the_same_event_again_is_a_patch_of_the_first() -> None:
    door = Door(answer({}, 201), answer({}))
    for _ in range(2):
        await door.kube.event(BROKER, EventType.NORMAL, "Scaled", "To 3 nodes.")
    first, second = door.session.requests
    assert (first.method, second.method) == ("POST", "PATCH")
    assert second.body is not None
    assert second.body["series"]["count"] == 2


async def test_an_event_whose_first_one_has_expired_is_told_anew() -> None:
    door = Door(answer({}, 201), status(404), answer({}, 201))
    for _ in range(2):
        await door.kube.event(BROKER, EventType.NORMAL, "Scaled", "To 3 nodes.")
    assert [request.method for request in door.session.requests] == ["POST", "PATCH", "POST"]


async def test_an_event_that_cannot_be_written_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    await Door(status(403, 'events is forbidden: User "x" cannot')).kube.event(
        BROKER, EventType.NORMAL, "Scaled", "To 3 nodes."
    )
    assert "An event could not be written" in caplog.text


async def test_into_a_namespace_that_is_being_deleted_no_more_events_are_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "events is forbidden: unable to create new content in namespace mqtt because it is being terminated"
    refusal = {"message": message, "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    door = Door(answer(refusal, 403), answer({}, 201), answer({}, 201))
    for _ in range(3):
        await door.kube.event(BROKER, EventType.NORMAL, "Scaled", "To 3 nodes.")
    assert len(door.session.requests) == 1
    assert caplog.text == ""
    other = {**BROKER, "metadata": {**BROKER["metadata"], "namespace": "team"}}
    await door.kube.event(other, EventType.NORMAL, "Scaled", "To 3 nodes.")
    assert len(door.session.requests) == 2
    monkeypatch.setattr("mqtt_operator.kube.api.SILENT_S", 0.0)
    door.kube._silent_until.clear()
    await door.kube.event(BROKER, EventType.NORMAL, "Ready", "There may be another namespace of that name by now.")
    assert len(door.session.requests) == 3


async def test_changes_come_line_by_line() -> None:
    door = Door()
    door.session.stream = [b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "8"}}}\n']
    changes = [change async for change in door.kube.changes(Place(kinds.POD, "mqtt", "a=b"), "7", seconds_max=300)]
    assert [(change.type, change.document["metadata"]["resourceVersion"]) for change in changes] == [("ADDED", "8")]
    assert door.request.query == {
        "labelSelector": "a=b",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "300",
    }
    assert door.kube.calls() == {Call("watch", "", "pods")}


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (NoStreamError(status(410)), ExpiredError),
        (NoStreamError(status(403, 'pods is forbidden: User "x" cannot')), ForbiddenError),
        (NoAnswerError("connection reset"), NoAnswerError),
    ],
)
async def test_changes_that_cannot_be_followed_say_why(refusal: Exception, error: type[Exception]) -> None:
    door = Door()
    door.session.stream = refusal
    with pytest.raises(error):
        async for _ in door.kube.changes(Place(kinds.POD), "7", seconds_max=300):
            pass
