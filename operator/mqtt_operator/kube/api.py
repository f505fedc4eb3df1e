"""The one door to the API server: the verbs of the port over a Session, tried again while the answer is "later".

Knows retries, bounds, server-side apply and which call needs which right; does not know what an object is for.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from mqtt_operator.desired import names
from mqtt_operator.desired.kinds import EVENT, Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube import paths
from mqtt_operator.kube.answers import LATER, is_success, problem_of
from mqtt_operator.kube.events import EventBook, EventSource
from mqtt_operator.kube.place import Change, ExpiredError, Page, Place, UnservedError
from mqtt_operator.kube.port import Call, EventType, KubeAwayError, KubeError, NamespaceEndsError, Propagation
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

log = logging.getLogger(__name__)

CALLS_MAX = 32  # at a time; the API server shares itself out among its clients, and refuses who asks for more
CALL_S_MAX = 30.0  # from its turn to its last attempt
ATTEMPT_S_MAX = 15.0  # an API server that holds a request longer than this has lost it
EVENT_S_MAX = 5.0  # an event is not worth waiting for
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 5.0
PAGE_OBJECTS_MAX = 500  # as kubectl does: neither side has to hold a whole list at a time

SILENT_S = 60.0  # how long nothing is told in a namespace that is being deleted
SERVED_S_MAX = 60.0  # how long it is believed which kinds there are
SILENCE_S_MAX = 90.0  # the API server sends a bookmark every minute

Sleep = Callable[[float], Awaitable[None]]

_CHANGES = msgspec.json.Decoder(Change)


class _Served(NamedTuple):
    """What one version of a group holds."""

    asked_at: float
    plurals: frozenset[str]


class ApiKube:
    """A Kube (see the port). `session` is open, and stays the caller's."""

    def __init__(
        self,
        session: Session,
        source: EventSource,
        *,
        calls_max: int = CALLS_MAX,
        call_s_max: float = CALL_S_MAX,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._session = session
        self._turns = asyncio.Semaphore(calls_max)
        self._call_s_max = call_s_max
        self._sleep = sleep
        self._events = EventBook(source)
        self._silent_until: dict[str, float] = {}
        self._calls: Counter[Call] = Counter()
        self._served: dict[str, _Served] = {}

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return await self._object("get", kind, Request("GET", paths.item(kind, namespace, name)), namespace, name)

    async def list(self, kind: Kind, namespace: str, selector: str = "", *, fields: str = "") -> list[Manifest]:
        place = Place(kind, namespace, selector, fields)
        while True:
            try:
                return [document async for page in self.pages(place) for document in page.documents]
            except UnservedError:
                return []
            except ExpiredError:
                continue

    async def apply(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER, force: bool = True) -> Manifest:
        kind, metadata = paths.kind_of(manifest), manifest["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        self._calls[paths.call("create", kind)] += 1  # the API server demands both rights of one who may create by it
        query = {"fieldManager": manager, "force": str(force).lower()}
        request = Request("PATCH", paths.item(kind, namespace, name), query, manifest, APPLY_PATCH)
        answer = await self._answer(paths.call("patch", kind), request, namespace, name)
        return _success(answer, paths.call("patch", kind), namespace, name)

    async def create(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER) -> Manifest:
        kind, metadata = paths.kind_of(manifest), manifest["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        call = paths.call("create", kind)
        request = Request("POST", paths.collection(kind, namespace), {"fieldManager": manager}, manifest)
        return _success(await self._answer(call, request, namespace, name), call, namespace, name)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Manifest, *, manager: str = names.FIELD_MANAGER
    ) -> Manifest | None:
        path = paths.item(kind, namespace, name)
        request = Request("PATCH", path, {"fieldManager": manager}, body, MERGE_PATCH)
        return await self._object("patch", kind, request, namespace, name)

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Manifest, *, manager: str = names.STATUS_FIELD_MANAGER
    ) -> Manifest | None:
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        path = paths.item(kind, namespace, name, "status")
        request = Request("PATCH", path, {"fieldManager": manager, "force": "true"}, body, APPLY_PATCH)
        return await self._object("patch", kind, request, namespace, name, subresource="status")

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
    ) -> bool:
        only = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation.value,
            "preconditions": {field: value for field, value in only.items() if value is not None},
        }
        request = Request("DELETE", paths.item(kind, namespace, name), {}, options)
        return await self._object("delete", kind, request, namespace, name) is not None

    async def serves(self, kind: Kind) -> bool:
        now = asyncio.get_running_loop().time()
        known = self._served.get(kind.api_version)
        if known is None or now - known.asked_at > SERVED_S_MAX:
            answer = await self._open_answer(paths.discovery(kind))
            entries = answer.document()["resources"] if is_success(answer) else ()
            known = _Served(now, frozenset(entry["name"] for entry in entries))
            self._served[kind.api_version] = known
        return kind.plural in known.plurals

    async def published_schema(self, path: str) -> Answer:
        """What is at such a path of the API server's schemas. Raises KubeAwayError."""
        return await self._open_answer(path)

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        loop, namespace = asyncio.get_running_loop(), about["metadata"].get("namespace", "default")
        if loop.time() < self._silent_until.get(namespace, 0.0):
            return
        self._silent_until.pop(namespace, None)
        try:
            async with asyncio.timeout(EVENT_S_MAX):
                await self._tell(about, event_type, reason, message)
        except NamespaceEndsError:  # and nobody is there to read it
            self._silent_until[namespace] = loop.time() + SILENT_S
        except (KubeError, TimeoutError) as error:
            log.warning("An event could not be written: %s", error, extra={"event": "kube.event"})

    def calls(self) -> frozenset[Call]:
        return frozenset(self._calls)

    def call_counts(self) -> Mapping[Call, int]:
        """How often each kind of request was made so far; second attempts are not counted."""
        return self._calls

    async def pages(self, place: Place) -> AsyncGenerator[Page]:
        """A list in parts, all of one moment.

        Raises UnservedError if the API server does not know the kind, ExpiredError if it must be begun anew.
        """
        call, path = paths.call("list", place.kind), paths.collection(place.kind, place.namespace)
        query = {**place.query, "limit": str(PAGE_OBJECTS_MAX)}
        while True:
            answer = await self._answer(call, Request("GET", path, query), place.namespace, "")
            if answer.code == HTTPStatus.NOT_FOUND:
                raise UnservedError(place.kind)
            if answer.code == HTTPStatus.GONE:
                raise ExpiredError
            document = _success(answer, call, place.namespace, "")
            yield Page(document["metadata"]["resourceVersion"], _with_kind(document["items"], place.kind))
            following = document["metadata"].get("continue", "")
            if not following:
                return
            query = {**query, "continue": following}

    async def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]:
        """What happens after that version, until the API server ends it, which it does after `seconds_max`.

        Takes a connection, but no turn. Raises NoAnswerError when it breaks, ExpiredError if the version is too old.
        """
        call, path = paths.call("watch", place.kind), paths.collection(place.kind, place.namespace)
        self._calls[call] += 1
        query = {
            **place.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds_max),
        }
        lines = self._session.lines(Request("GET", path, query), silence_s_max=SILENCE_S_MAX)
        try:
            async with aclosing(lines):
                async for line in lines:
                    yield _CHANGES.decode(line)
        except NoStreamError as error:
            if error.answer.code == HTTPStatus.GONE:
                raise ExpiredError from None
            raise problem_of(error.answer, call, place.namespace, "") from None

    async def _tell(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        entry = self._events.enter(about, event_type, reason, message)
        namespace = about["metadata"].get("namespace", "default")
        if entry.series is not None:
            if await self.patch(EVENT, namespace, entry.name, entry.series) is not None:
                return
            entry = self._events.renew(about, event_type, reason, message)  # the first one has expired
        await self.create(entry.manifest)

    async def _object(
        self, verb: str, kind: Kind, request: Request, namespace: str, name: str, *, subresource: str = ""
    ) -> Manifest | None:
        """The object that the answer holds; None if there is no such object."""
        call = paths.call(verb, kind, subresource)
        answer = await self._answer(call, request, namespace, name)
        if answer.code == HTTPStatus.NOT_FOUND:
            return None
        return _success(answer, call, namespace, name)

    async def _answer(self, call: Call, request: Request, namespace: str, name: str) -> Answer:
        """The last word of the API server on this request. Raises KubeAwayError if there is none in time."""
        self._calls[call] += 1
        async with self._turns:
            return await self._tried(call, request, namespace, name)

    async def _open_answer(self, path: str) -> Answer:
        """What the API server tells everybody who may log in. Raises KubeAwayError."""
        async with self._turns:
            return await self._tried(Call("get", "", path), Request("GET", path), "", "")

    async def _tried(self, call: Call, request: Request, namespace: str, name: str) -> Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._call_s_max
        backoff_s = BACKOFF_S_MIN
        while True:
            left_s = deadline - loop.time()
            answer = await self._attempt(request, max(left_s, BACKOFF_S_MIN))
            if isinstance(answer, Answer) and answer.code not in LATER and answer.code != HTTPStatus.UNAUTHORIZED:
                return answer
            wait_s = random.uniform(backoff_s / 2, backoff_s)  # noqa: S311 - spreads load, guards nothing
            if isinstance(answer, Answer):
                wait_s = max(wait_s, answer.retry_after_s or 0.0)
            if loop.time() + wait_s >= deadline:
                raise _away(answer, call, namespace, name)
            await self._sleep(wait_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)

    async def _attempt(self, request: Request, left_s: float) -> Answer | NoAnswerError:
        try:
            answer = await self._session.request(request, seconds_max=min(ATTEMPT_S_MAX, left_s))
        except NoAnswerError as error:
            if isinstance(error, NotTrustedError):
                await self._log_in_again()
            return error
        if answer.code == HTTPStatus.UNAUTHORIZED:
            await self._log_in_again()
        return answer

    async def _log_in_again(self) -> None:
        try:
            await self._session.reload()
        except LoginError as error:
            log.warning("%s", error, extra={"event": "kube.login"})


def _with_kind(entries: list[Manifest] | None, kind: Kind) -> list[Manifest]:
    return [{"apiVersion": kind.api_version, "kind": kind.kind, **entry} for entry in entries or ()]


def _success(answer: Answer, call: Call, namespace: str, name: str) -> Manifest:
    if not is_success(answer):
        raise problem_of(answer, call, namespace, name)
    try:
        return answer.document()
    except NoAnswerError as error:
        raise KubeAwayError(f"The API server gave {error}.") from error


def _away(answer: Answer | NoAnswerError, call: Call, namespace: str, name: str) -> KubeError:
    if isinstance(answer, Answer):
        return problem_of(answer, call, namespace, name)
    return KubeAwayError(
        "The API server cannot be reached.", where=str(answer), to_do="It is tried again until it answers."
    )
