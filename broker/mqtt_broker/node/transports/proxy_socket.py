"""Takes the PROXY header off an accepted socket, and not one byte more: TLS or MQTT begins right behind it.

Knows sockets, deadlines and trusted networks; the header's bytes are proxy_protocol.py's.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

from mqtt_broker.node.transports.proxy_protocol import V2_BYTES_MAX, ProxyHeader, ProxyProtocolError, parse

HEADER_S_MAX = 5.0  # a proxy sends its header with its first packet

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for a text that is no network."""
    return tuple(ipaddress.ip_network(cidr) for cidr in cidrs)


def plain_address(address: str) -> str:
    """An address as people write it: a socket for both families shows IPv4 as ::ffff:192.0.2.1 (RFC 4291, 2.5.5.2)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return address if mapped is None else str(mapped)


def is_trusted(address: str, trusted: Iterable[Network]) -> bool:
    """`address` as `plain_address` gives it. What is no IP address is in no network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


async def take_header(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> ProxyHeader:
    """Read the header off a socket that does not block. Raises ProxyProtocolError, TimeoutError or OSError.

    After an error the socket is to be closed: what was read is lost.
    """
    async with asyncio.timeout(HEADER_S_MAX):
        taken = b""
        while True:
            await _readable(loop, accepted)
            try:
                seen = accepted.recv(V2_BYTES_MAX, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not seen:
                raise ProxyProtocolError("the connection ended within the PROXY header")
            header = parse(taken + seen)
            # While the header is incomplete all that was seen is part of it: taken, so that waiting does not spin.
            taken += accepted.recv(len(seen) if header is None else header.size_bytes - len(taken))
            if header is not None:
                return header


def _resolve(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


async def _readable(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(accepted.fileno(), _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(accepted.fileno())
