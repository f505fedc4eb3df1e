"""MQTT inside WebSocket: an upgraded HTTP connection that looks like a byte stream to the client's protocol.

Knows HTTP requests, origins and WebSocket messages; does not know MQTT packets. HTTP and framing are aiohttp's; this
file bounds what a stranger may send before the upgrade, decides who may upgrade, and adapts both directions.

    socket or TLS -> WebSocketEntrance -> aiohttp -> messages -> ClientConnection.data_received
    ClientConnection.flush -> WebSocketTransport.write -> aiohttp -> one binary frame
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from mqtt_api.node_settings import WebSocketSettings
from mqtt_broker.node.client import ClientConnection
from mqtt_broker.node.rate import TokenBucket
from mqtt_broker.node.transports.frame_guard import FrameGuard, MessageTooBigError, UnmaskedFrameError
from mqtt_broker.protocol.connection import CONNECT_BYTES_MAX

log = logging.getLogger("mqtt_broker.websocket")

SUBPROTOCOL = "mqtt"
UPGRADE_S_MAX = 10.0  # from the first byte (after TLS) to the whole request
REQUEST_BYTES_MAX = 8 * 1024  # request line and headers together
MESSAGE_EXTRA_BYTES = 64 * 1024  # a message may hold several packets: this much more than the largest packet
DELIVERY_BYTES_MAX = 256 * 1024  # handed over at once, as a socket's read would be; the client may pause in between
CLOSE_S_MAX = 2.0  # how long the other side may take to say goodbye
PINGS_PER_S_MAX = 10
PONG_BUFFER_BYTES_MAX = 64 * 1024  # whoever does not read its pongs gets none

_END_OF_HEAD = b"\r\n\r\n"
_METHOD = b"GET "

# Malformed HTTP from a stranger is no news and no traceback; our own handler logs its own errors.
_HTTP_LOG = logging.getLogger("mqtt_broker.websocket.http")
_HTTP_LOG.disabled = True


class WebSocketTransport(asyncio.Transport):
    """What a ClientConnection writes to. Each write is one binary frame [MQTT-6.0.0-1]; back-pressure is the socket's.

    Until `close` was called it is the entrance that notices the end of the connection and tells the client.
    """

    def __init__(self, response: web.WebSocketResponse, below: asyncio.Transport) -> None:
        """`response` is upgraded; `below` is the connection that it lives on."""
        super().__init__()
        self._response = response
        self._below = below
        self._may_read = asyncio.Event()
        self._may_read.set()
        self.ending: asyncio.Task[bool] | None = None

    # What the client's protocol calls --------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_closing():
            self._drive(self._response.send_bytes(bytes(data)))

    def close(self) -> None:
        self.close_with(WSCloseCode.OK)

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self.ending is not None or self._response.closed or self._below.is_closing()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def is_reading(self) -> bool:
        return self._may_read.is_set()

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the connection below: `ssl_object` is there under TLS, so client certificates count as anywhere."""
        return self._below.get_extra_info(name, default)

    # What the entrance calls -----------------------------------------------------------------------------------------

    def close_with(self, code: int) -> None:
        """Say goodbye with this code, wait CLOSE_S_MAX for the answer, close. Idempotent: the first code counts."""
        if self.ending is None:
            self._may_read.set()  # what is still read is not for the client any more
            self.ending = asyncio.get_running_loop().create_task(
                self._response.close(code=code), name="websocket-close"
            )

    def pong(self, payload: bytes) -> None:
        if not self.is_closing() and self.get_write_buffer_size() < PONG_BUFFER_BYTES_MAX:
            self._drive(self._response.pong(payload))

    async def readable(self) -> None:
        """Returns when the client's protocol takes data."""
        await self._may_read.wait()

    def _drive(self, sending: Coroutine[Any, Any, None]) -> None:
        """Run a send to its end at once: without compression and with no limit of its own it never waits."""
        try:
            sending.send(None)
        except StopIteration:
            return
        except ConnectionError:  # it is gone, and connection_lost is on its way
            return
        sending.close()
        raise AssertionError("a WebSocket frame waited to be written")


class WebSocketEntrance(asyncio.Protocol):
    """One connection of a WebSocket listener: bounded request, upgrade, then a byte stream for `client`.

    `client.connection_made` is called after the upgrade; `not_upgraded` instead of `client.connection_lost` if it never
    came to that.
    """

    def __init__(
        self, settings: WebSocketSettings, client: ClientConnection, not_upgraded: Callable[[ClientConnection], None]
    ) -> None:
        self._settings = settings
        self._client = client
        self._not_upgraded = not_upgraded
        self._below: asyncio.Transport | None = None
        self._http = web.Server(self._on_request, access_log=None, logger=_HTTP_LOG, lingering_time=0.0)()
        self._head = bytearray()
        self._head_is_complete = False
        self._guard = FrameGuard()
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: WebSocketTransport | None = None
        self._conversing = False
        self._lost: Exception | None = None

    def abort(self) -> None:
        """Cut the connection if it is not upgraded yet; an upgraded one is its client's to end."""
        if self._transport is None and self._below is not None:
            self._below.abort()

    # The transport's callbacks ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)
        self._deadline = self._client.hub.loop.call_later(UPGRADE_S_MAX, self._too_slow)
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self._head_is_complete:
            data = self._receive_head(data)
        if data and self._head_is_complete and self._may_continue(data):
            self._http.data_received(data)

    def eof_received(self) -> bool:
        return False  # what came before is still read; then both halves close

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc
        self._stop_waiting()
        self._http.connection_lost(exc)
        if self._transport is not None:
            self._transport.resume_reading()  # deliver what came before the end
        if not self._conversing:
            self._not_upgraded(self._client)

    def pause_writing(self) -> None:
        self._http.pause_writing()
        self._client.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
        self._client.resume_writing()

    # Before the upgrade ----------------------------------------------------------------------------------------------

    def _receive_head(self, data: bytes) -> bytes:
        """Gather the request up to its empty line, within bounds, and hand it on; returns what follows it."""
        searched = max(0, len(self._head) - len(_END_OF_HEAD))
        self._head += data
        if not self._head.startswith(_METHOD[: len(self._head)]):
            self._refuse(HTTPStatus.BAD_REQUEST, "not a GET request")
            return b""
        end = self._head.find(_END_OF_HEAD, searched, REQUEST_BYTES_MAX)
        if end < 0:
            if len(self._head) >= REQUEST_BYTES_MAX:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too large")
            return b""
        head, rest = bytes(self._head[: end + len(_END_OF_HEAD)]), bytes(self._head[end + len(_END_OF_HEAD) :])
        self._head_is_complete = True
        self._head.clear()
        self._http.data_received(head)
        return rest

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """An answer to what is not worth parsing."""
        self._note(why)
        self._head.clear()
        assert self._below is not None
        if not self._below.is_closing():
            self._below.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            self._below.close()

    def _too_slow(self) -> None:
        self._note(f"no request within {UPGRADE_S_MAX} s")
        self.abort()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp has parsed the request: refuse it, or converse until the connection ends."""
        refusal = self._refusal(request)
        if refusal is not None:
            status, why = refusal
            self._note(why)
            return _closing(web.Response(status=status, text=f"{why}\n"))
        response = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),  # [MQTT-6.0.0-4]
            compress=False,
            autoping=False,
            decode_text=False,
            timeout=CLOSE_S_MAX,
            max_msg_size=self._message_bytes_max + 1,  # the guard comes first; this is where aiohttp's own bound lies
            writer_limit=sys.maxsize,
        )
        try:
            await response.prepare(request)
        except web.HTTPException as refused:
            self._note(f"no WebSocket handshake: {refused.reason}")
            return _closing(refused)
        await self._converse(response)
        return response

    def _refusal(self, request: web.BaseRequest) -> tuple[HTTPStatus, str] | None:
        if "Content-Length" in request.headers or "Transfer-Encoding" in request.headers:
            # The guard takes all that follows the head for frames: nothing may make aiohttp think otherwise.
            return HTTPStatus.BAD_REQUEST, "an upgrade has no body"
        if self._settings.path is not None and request.path != self._settings.path:
            return HTTPStatus.NOT_FOUND, "no such path"
        if not _origin_allowed(request.headers.get("Origin"), request.headers.get("Host"), self._settings):
            return HTTPStatus.FORBIDDEN, "this origin may not connect"
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if SUBPROTOCOL not in (name.strip() for name in offered):  # [MQTT-6.0.0-3]
            return HTTPStatus.BAD_REQUEST, "the subprotocol mqtt must be offered"
        return None

    def _note(self, why: str) -> None:
        peer = self._client.peer
        log.debug(
            "no WebSocket for %s on %s: %s",
            peer.address,
            peer.listener,
            why,
            extra={
                "event": "websocket.refused",
                "fields": {"address": peer.address, "listener": peer.listener, "why": why},
            },
        )

    # After the upgrade -----------------------------------------------------------------------------------------------

    @property
    def _message_bytes_max(self) -> int:
        return self._client.hub.settings.mqtt.packet_bytes_max + MESSAGE_EXTRA_BYTES

    def _may_continue(self, data: bytes) -> bool:
        """Whether these bytes may be decoded. Before CONNECT a message may be no larger than a CONNECT."""
        is_known = self._client.connection.connect is not None
        try:
            self._guard.check(data, self._message_bytes_max if is_known else CONNECT_BYTES_MAX)
        except UnmaskedFrameError as problem:
            self._end(WSCloseCode.PROTOCOL_ERROR, str(problem))
        except MessageTooBigError as problem:
            self._end(WSCloseCode.MESSAGE_TOO_BIG, str(problem))
        else:
            return True
        return False

    def _end(self, code: WSCloseCode, why: str) -> None:
        self._note(why)
        if self._transport is None or self._transport.is_closing():
            assert self._below is not None
            self._below.abort()
        else:
            self._transport.close_with(code)

    async def _converse(self, response: web.WebSocketResponse) -> None:
        """Pass messages on until the connection ends, then say so: in the order in which they came."""
        assert self._below is not None
        self._stop_waiting()
        self._transport = transport = WebSocketTransport(response, self._below)
        self._conversing = True
        try:
            self._client.connection_made(transport)
            await self._pass_on(response, transport)
        except Exception:
            log.exception("a WebSocket connection failed")
            transport.abort()
        finally:
            try:
                if transport.ending is not None:
                    await transport.ending
            finally:
                self._client.connection_lost(self._lost)

    async def _pass_on(self, response: web.WebSocketResponse, transport: WebSocketTransport) -> None:
        loop = self._client.hub.loop
        pings = TokenBucket(PINGS_PER_S_MAX, loop.time())
        while True:
            message = await response.receive()
            if message.type is WSMsgType.BINARY:
                await self._deliver(message.data, transport)
            elif message.type is WSMsgType.PING:
                transport.pong(message.data)
                await asyncio.sleep(pings.take(1, loop.time()))  # a flood waits in the sender's own buffers
            elif message.type is WSMsgType.TEXT:
                self._end(WSCloseCode.UNSUPPORTED_DATA, "a text frame")  # [MQTT-6.0.0-1]
                return
            elif message.type is not WSMsgType.PONG:
                return  # closed by either side, or an error of framing that aiohttp has answered

    async def _deliver(self, data: bytes, transport: WebSocketTransport) -> None:
        """Message boundaries mean nothing: the client's protocol sees a stream."""
        for start in range(0, len(data), DELIVERY_BYTES_MAX):
            await transport.readable()
            self._client.data_received(data[start : start + DELIVERY_BYTES_MAX])  # [MQTT-6.0.0-2]
        await transport.readable()


def _closing(response: web.Response | web.HTTPException) -> web.Response | web.HTTPException:
    response.force_close()
    return response


def _origin_allowed(origin: str | None, host: str | None, settings: WebSocketSettings) -> bool:
    """Browsers always name the page's origin; a page of somebody else must not use its visitor's certificate."""
    if origin is None:
        return True
    if settings.allowed_origins is None:
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()
    return "*" in settings.allowed_origins or origin.lower() in settings.allowed_origins
