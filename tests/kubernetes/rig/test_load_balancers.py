"""The cloud's load balancers, on this machine's own addresses."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.kube.load_balancers import ADDRESS_ANNOTATION, CLASS, PROXY_ANNOTATION, Balancer, Order, header, order_of
from support.processes import free_port

ADDRESS, NODE = "127.0.0.2", "127.0.0.1"


def _service(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 8883, "nodePort": 31_000}]
    return {"metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer", "ports": ports, **spec}}


def test_a_service_says_what_it_wants() -> None:
    order = order_of(_service({PROXY_ANNOTATION: "v2"}, loadBalancerSourceRanges=["203.0.113.0/24"]))
    assert order == Order({8883: 31_000}, (ipaddress.IPv4Network("203.0.113.0/24"),), has_header=True, has_name=False)
    assert order.ingress("10.93.0.1") == {"ip": "10.93.0.1", "ipMode": "Proxy"}


def test_a_service_may_have_a_name_instead_of_an_address() -> None:
    order = order_of(_service({ADDRESS_ANNOTATION: "hostname"}, loadBalancerClass=CLASS))
    assert order is not None
    assert order.ingress("10.93.0.1") == {"hostname": "10-93-0-1.lb.test"}


@pytest.mark.parametrize(
    "service",
    [
        _service(type="ClusterIP"),
        _service(loadBalancerClass="example.org/other"),
        {**_service(), "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["no balancer", "another cloud's", "going"],
)
def test_other_services_are_left_alone(service: dict[str, Any]) -> None:
    assert order_of(service) is None


@pytest.fixture
async def inner_port() -> AsyncIterator[int]:
    """What is behind the balancer: it echoes until the end, and says so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.write(b"end")
        writer.close()

    server = await asyncio.start_server(serve, NODE)
    yield server.sockets[0].getsockname()[1]
    server.close()


def _order(inner_port: int, *, has_header: bool = False, ranges: str = "") -> Order:
    blocks = tuple(map(ipaddress.IPv4Network, ranges.split()))
    return Order({free_port(): inner_port}, blocks, has_header, has_name=False)


async def _ask(order: Order, source: str = NODE) -> tuple[bytes, tuple[str, int]]:
    (port,) = order.ports
    reader, writer = await asyncio.open_connection(ADDRESS, port, local_addr=(source, 0))
    own = writer.get_extra_info("sockname")
    try:
        writer.write(b"hello ")
        writer.write_eof()
        return await reader.read(), own
    except ConnectionError:
        return b"", own
    finally:
        writer.close()


async def test_a_connection_is_handed_on_in_both_directions_to_its_end(inner_port: int) -> None:
    balancer = Balancer(ADDRESS, NODE, _order(inner_port))
    await balancer.open()
    said, _ = await _ask(balancer.order)
    assert said == b"hello end"
    balancer.close()
    with pytest.raises(ConnectionRefusedError):
        await _ask(balancer.order)


async def test_who_asks_is_told_first_where_that_is_wanted(inner_port: int) -> None:
    balancer = Balancer(ADDRESS, NODE, _order(inner_port, has_header=True))
    await balancer.open()
    said, own = await _ask(balancer.order, "127.0.0.9")
    (port,) = balancer.order.ports
    assert said == header(own, (ADDRESS, port)) + b"hello end"
    assert own[0] == "127.0.0.9"
    balancer.close()


async def test_who_is_outside_the_ranges_is_cut_off(inner_port: int) -> None:
    balancer = Balancer(ADDRESS, NODE, _order(inner_port, ranges="127.0.0.8/31"))
    await balancer.open()
    assert (await _ask(balancer.order, "127.0.0.9"))[0] == b"hello end"
    assert (await _ask(balancer.order, "127.0.0.7"))[0] == b""
    balancer.close()


async def test_a_changed_order_opens_and_closes_ports(inner_port: int) -> None:
    first, second = _order(inner_port), _order(inner_port)
    balancer = Balancer(ADDRESS, NODE, first)
    await balancer.open()
    balancer.order = second
    await balancer.open()
    assert (await _ask(second))[0] == b"hello end"
    with pytest.raises(ConnectionRefusedError):
        await _ask(first)
    balancer.close()


async def test_nobody_behind_it_ends_the_connection() -> None:
    balancer = Balancer(ADDRESS, NODE, _order(free_port()))
    await balancer.open()
    assert (await _ask(balancer.order))[0] == b""
    balancer.close()
