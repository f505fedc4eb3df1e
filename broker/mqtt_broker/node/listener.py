"""A listening port: accept, count, take a PROXY header, finish TLS, hand over a connection with its verified identity.

Knows sockets, TLS, deadlines and the connection limit; does not know MQTT. Each accepted connection gets the settings
and the TLS context of that moment: a new certificate, CA or CRL needs no new socket and touches no living connection.

A listener with PROXY headers is for proxies alone: another peer is closed whatever it sends, and a proxy's connection
without a header is closed too. Guessing per connection would let everybody choose the address that is written down.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings
from mqtt_broker.auth.authenticate import Authenticator
from mqtt_broker.auth.principal import Peer, certificate_from_der
from mqtt_broker.node.client import ClientConnection
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.rate import TokenBucket
from mqtt_broker.node.tls import ReloadableContext, TLSConfigError
from mqtt_broker.node.transports.proxy_protocol import ProxyHeader, ProxyProtocolError
from mqtt_broker.node.transports.proxy_socket import Network, is_trusted, networks, plain_address, take_header
from mqtt_broker.node.transports.websocket import WebSocketEntrance

log = logging.getLogger("mqtt_broker.listener")

HANDSHAKE_S_MAX = 10.0  # a TLS handshake on a bad line needs two round trips; one that takes longer holds a place
BACKLOG = 1_024
ACCEPT_PAUSE_S = 0.1  # after the process ran out of file descriptors: let some connections end first


class ListenError(Exception):
    """A port cannot be opened. The text names listener, address and what to do."""


class Listener:
    """One port. `start` opens it; `apply` changes limits, authentication and TLS content while it is open."""

    def __init__(self, hub: Hub, settings: ListenerSettings) -> None:
        """Raises TLSConfigError for certificates that cannot be used and ValueError for a bad authentication entry."""
        self.hub = hub
        self.settings = settings
        self.name = settings.name
        self.authenticator = Authenticator(self._chain(settings), hub.passwords)
        self.tls = None if settings.tls is None else ReloadableContext(settings.tls)
        self._proxies = _proxies(settings)
        self.connections: set[ClientConnection] = set()
        self.port = settings.port
        self._rate = self._bucket(settings)
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._entrances: dict[ClientConnection, WebSocketEntrance] = {}

    def start(self) -> None:
        """Open the port. Raises ListenError; nothing is open then."""
        host, port = self.settings.host, self.settings.port
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            server = socket.socket(family, kind, protocol)
        except OSError as problem:
            raise ListenError(f"listener {self.name}: host {host!r} cannot be resolved: {problem}") from problem
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind(address)
            server.listen(BACKLOG)
            server.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        except OSError as problem:
            server.close()
            raise ListenError(_why_not(self.name, host, port, problem)) from problem
        self._socket = server
        self.port = server.getsockname()[1]
        self._accepting = self.hub.loop.create_task(self._accept(server), name=f"accept-{self.name}")

    def apply(self, settings: ListenerSettings) -> None:
        """Take new settings for the connections to come; same host and port.

        Raises like the constructor, and keeps the old.
        """
        authenticator = Authenticator(self._chain(settings), self.hub.passwords)
        proxies = _proxies(settings)
        if settings.tls != self.settings.tls:
            self.tls = None if settings.tls is None else ReloadableContext(settings.tls)
        self.authenticator = authenticator
        self._proxies = proxies
        if settings.connection_rate != self.settings.connection_rate:
            self._rate = self._bucket(settings)
        self.settings = settings

    async def reload_tls(self) -> None:
        """Read certificate, CA and CRL files again if they changed; bad ones keep what is served, with an alarm."""
        if self.tls is None:
            return
        try:
            changed = await asyncio.to_thread(self.tls.reload)
        except TLSConfigError as problem:
            log.error(
                "listener %s keeps its certificate: %s",
                self.name,
                problem,
                extra={"event": "tls.rejected", "fields": {"listener": self.name, "problem": str(problem)}},
            )
            return
        if changed:
            log.info(
                "listener %s serves certificate %s",
                self.name,
                self.tls.serial,
                extra={"event": "tls.reloaded", "fields": {"listener": self.name, "serial": self.tls.serial}},
            )

    async def close(self) -> None:
        """Stop accepting. Connections that have come as far as MQTT stay."""
        tasks = [task for task in (self._accepting, *self._handshakes) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entrance in list(self._entrances.values()):
            entrance.abort()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def identify(self, transport: asyncio.BaseTransport, address: str) -> Peer:
        """The certificate the client proved in the handshake, or none. Raises ValueError if it cannot be read."""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        der = None if tls is None else tls.getpeercert(binary_form=True)
        certificate = None if der is None else certificate_from_der(der)
        return Peer(address=address, listener=self.name, certificate=certificate)

    def connection_closed(self, client: ClientConnection) -> None:
        self.connections.discard(client)
        self._entrances.pop(client, None)

    def _bucket(self, settings: ListenerSettings) -> TokenBucket | None:
        rate = settings.connection_rate
        return None if rate is None else TokenBucket(rate.per_s, self.hub.loop.time(), rate.burst)

    def _chain(self, settings: ListenerSettings) -> tuple[AuthenticationSettings, ...]:
        """A listener may have a chain of its own; an empty one means nobody, not the node's [D8]."""
        return self.hub.settings.authentication if settings.authentication is None else settings.authentication

    async def _accept(self, server: socket.socket) -> None:
        loop = self.hub.loop
        while True:
            try:
                accepted, address = await loop.sock_accept(server)
            except OSError as problem:
                if problem.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("listener %s cannot accept: %s", self.name, problem)
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                continue  # a client that left the queue again is nobody's fault
            peer = plain_address(str(address[0]))
            self.hub.counters.connections_opened += 1
            if self._rate is not None:
                delay_s = self._rate.take(1, loop.time())
                self.hub.counters.connections_delayed += delay_s > 0
                await asyncio.sleep(delay_s)  # those behind wait in the kernel's queue
            if len(self.connections) >= self.settings.max_connections:
                self.hub.counters.connections_refused += 1
                log.info("listener %s is full (%d): refused %s", self.name, self.settings.max_connections, peer)
                accepted.close()
                continue
            client = ClientConnection(self.hub, self, peer)
            self.connections.add(client)  # before the handshake: it counts from the first byte
            task = loop.create_task(self._open(accepted, client), name="handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _open(self, accepted: socket.socket, client: ClientConnection) -> None:
        """Learn whose connection it is, finish TLS, start MQTT. Whatever goes wrong costs this connection only."""
        accepted.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._proxies is not None:
                await self._take_proxy_header(self._proxies, accepted, client)
            await self.hub.loop.connect_accepted_socket(
                self._protocol_for(client),
                accepted,
                ssl=None if self.tls is None else self.tls.current,
                ssl_handshake_timeout=None if self.tls is None else HANDSHAKE_S_MAX,
            )
        except ProxyProtocolError as problem:
            self.hub.counters.connections_refused += 1
            self._give_up(accepted, client, "proxy.refused", str(problem))
        except (OSError, TimeoutError) as problem:  # ssl.SSLError is an OSError
            self.hub.counters.tls_failures += 1
            self._give_up(accepted, client, "tls.failed", _plain(problem))
        except asyncio.CancelledError:
            self.connection_closed(client)
            accepted.close()
            raise

    async def _take_proxy_header(
        self, proxies: tuple[Network, ...], accepted: socket.socket, client: ClientConnection
    ) -> None:
        """From here on logs and limits know the client's own address. Raises ProxyProtocolError or OSError."""
        proxy = client.peer.address
        if not is_trusted(proxy, proxies):
            raise ProxyProtocolError("it is none of the trusted proxies, and this listener is for those alone")
        try:
            header = await take_header(self.hub.loop, accepted)
        except TimeoutError as problem:
            raise ProxyProtocolError("no complete PROXY header came in time") from problem
        if header.address is not None:
            client.peer = Peer(address=plain_address(header.address), listener=self.name)
        _note_proxied(header, proxy, client.peer)

    def _protocol_for(self, client: ClientConnection) -> Callable[[], asyncio.Protocol]:
        """What talks first: MQTT at once, or HTTP until the upgrade."""
        if self.settings.protocol != "WebSocket":
            return lambda: client
        entrance = WebSocketEntrance(self.settings.web_socket, client, self.connection_closed)
        self._entrances[client] = entrance
        return lambda: entrance

    def _give_up(self, accepted: socket.socket, client: ClientConnection, event: str, problem: str) -> None:
        self.connection_closed(client)
        accepted.close()
        address = client.peer.address
        log.info(
            "no connection from %s on %s: %s",
            address,
            self.name,
            problem,
            extra={"event": event, "fields": {"address": address, "listener": self.name, "problem": problem}},
        )


def _proxies(settings: ListenerSettings) -> tuple[Network, ...] | None:
    """The proxies' networks; None: connections come without a PROXY header. Raises ValueError for a bad network."""
    if settings.proxy_protocol is None:
        return None
    try:
        return networks(settings.proxy_protocol.trusted_cidrs)
    except ValueError as problem:
        raise ValueError(f"listener {settings.name}: proxy_protocol.trusted_cidrs: {problem}") from problem


def _note_proxied(header: ProxyHeader, proxy: str, peer: Peer) -> None:
    """The certificate's name is what a proxy tells: worth a line in the log, never proof of who somebody is."""
    log.debug(
        "%s comes through the proxy %s",
        peer.address,
        proxy,
        extra={
            "event": "proxy.header",
            "fields": {
                "address": peer.address,
                "listener": peer.listener,
                "proxy": proxy,
                "certificate_name": header.certificate_name,
            },
        },
    )


def _plain(problem: Exception) -> str:
    return (
        problem.reason
        if isinstance(problem, ssl.SSLError) and problem.reason
        else str(problem) or type(problem).__name__
    )


def _why_not(name: str, host: str, port: int, problem: OSError) -> str:
    where = f"listener {name}: {host}:{port}"
    if problem.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program: stop it, or give the listener another port"
    if problem.errno == errno.EACCES:
        return f"{where} needs privileges: choose a port above 1023"
    return f"{where} cannot be opened: {problem.strerror or problem}"
