"""Load balancers as a cloud has them: an address for a Service, and connections handed on to the node.

Knows TCP, PROXY headers and the annotations of this cloud; does not know the API server. Runs on the machine, outside
the cluster, as a cloud does: what arrives at a pod comes from the machine unless a header says otherwise.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

Manifest = Mapping[str, Any]

CLASS = "stoa.dev/test"
PROXY_ANNOTATION = "load-balancer.stoa.dev/proxy-protocol"  # v2, or nothing
ADDRESS_ANNOTATION = "load-balancer.stoa.dev/address"  # ip, or hostname
DOMAIN = "lb.test"
CHUNK_BYTES = 64 * 1024
DIAL_S_MAX = 5.0

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@dataclass(frozen=True)
class Order:
    """What a Service asks for. `ports`: those of the balancer, and of the node behind each."""

    ports: Mapping[int, int]
    ranges: tuple[ipaddress.IPv4Network, ...]
    has_header: bool
    has_name: bool

    def ingress(self, address: str) -> dict[str, str]:
        """What the Service's status shows. Not a mode in which kube-proxy would lead pods past the balancer."""
        if self.has_name:
            return {"hostname": f"{address.replace('.', '-')}.{DOMAIN}"}
        return {"ip": address, "ipMode": "Proxy"}


def order_of(service: Manifest) -> Order | None:
    """None for a Service that this cloud has nothing to do with, or cannot serve yet."""
    spec, annotations = service["spec"], service["metadata"].get("annotations") or {}
    if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass", CLASS) != CLASS:
        return None
    if service["metadata"].get("deletionTimestamp"):
        return None
    ports = {port["port"]: port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    return Order(
        ports=ports,
        ranges=tuple(map(ipaddress.IPv4Network, spec.get("loadBalancerSourceRanges") or ())),
        has_header=annotations.get(PROXY_ANNOTATION) == "v2",
        has_name=annotations.get(ADDRESS_ANNOTATION) == "hostname",
    )


class Balancer:
    """The balancer of one Service. `order` may be changed while connections are open; they stay."""

    def __init__(self, address: str, node: str, order: Order) -> None:
        self.address = address
        self.order = order
        self._node = node
        self._servers: dict[int, asyncio.Server] = {}

    async def open(self) -> None:
        """Listen where the order says, and nowhere else any more."""
        for port in self._servers.keys() - self.order.ports.keys():
            self._servers.pop(port).close()
        for port in self.order.ports.keys() - self._servers.keys():
            self._servers[port] = await asyncio.start_server(partial(self._serve, port), self.address, port)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order, source = self.order, writer.get_extra_info("peername")
        if order.ranges and not any(ipaddress.ip_address(source[0]) in block for block in order.ranges):
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(DIAL_S_MAX):
                inner_reader, inner_writer = await asyncio.open_connection(self._node, order.ports[port])
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        if order.has_header:
            inner_writer.write(header(source, (self.address, port)))
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            writer.close()
            inner_writer.close()


def header(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """PROXY v2: who asks, over TCP and IPv4."""
    packed = ipaddress.ip_address(source[0]).packed + ipaddress.ip_address(destination[0]).packed
    payload = packed + source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    return _SIGNATURE + bytes([0x21, 0x11]) + len(payload).to_bytes(2, "big") + payload


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends: an end in good order goes on as one, a reset as a reset."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
    except OSError:
        writer.transport.abort()
