"""The proxy that partitions, slows and breaks the way to a store: it must do what it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from support.proxy import Proxy, Way

SILENCE_S = 0.2
ANSWER_S_MAX = 5.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[tuple[str, int]]:
    """A server that sends back what it gets, in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_024):
                writer.write(data.upper())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield host, port


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(echo) as running:
        yield running


@pytest.fixture
async def streams(proxy: Proxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    yield reader, writer
    writer.transport.abort()


async def ask(streams: Streams, text: bytes) -> bytes:
    streams[1].write(text)
    async with asyncio.timeout(ANSWER_S_MAX):
        return await streams[0].readexactly(len(text))


async def is_silent(streams: Streams) -> bool:
    try:
        async with asyncio.timeout(SILENCE_S):
            await streams[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_without_a_fault_bytes_pass(proxy: Proxy, streams: Streams) -> None:
    assert await ask(streams, b"abc") == b"ABC"
    assert proxy.connections == 1


@pytest.mark.parametrize("way", [Way.UP, Way.DOWN, Way.BOTH])
async def test_a_stall_holds_bytes_back_and_loses_none(proxy: Proxy, streams: Streams, way: Way) -> None:
    await ask(streams, b"before")
    proxy.stall(way)
    streams[1].write(b"first")
    assert await is_silent(streams)
    proxy.flow(way)
    assert await ask(streams, b"second") == b"FIRST" + b"S"
    assert await streams[0].readexactly(5) == b"ECOND"


async def test_a_stall_of_one_way_lets_the_other_pass(proxy: Proxy) -> None:
    """What is asked happens, and only the answer does not come."""
    heard: list[bytes] = []
    came = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1_024))
        came.set()
        writer.write(b"answer")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        proxy.retarget(server.sockets[0].getsockname()[:2])
        proxy.stall(Way.DOWN)
        streams = await asyncio.open_connection(proxy.host, proxy.port)
        streams[1].write(b"order")
        async with asyncio.timeout(ANSWER_S_MAX):
            await came.wait()
        assert heard == [b"order"]
        assert await is_silent(streams)
        proxy.cut()
        assert await ended(streams)


async def test_a_new_connection_stalls_too(proxy: Proxy) -> None:
    proxy.stall()
    streams = await asyncio.open_connection(proxy.host, proxy.port)
    streams[1].write(b"abc")
    assert await is_silent(streams)
    streams[1].transport.abort()


async def test_a_delay_is_added_each_way_and_keeps_the_order(proxy: Proxy, streams: Streams) -> None:
    proxy.delay(SILENCE_S)
    started_at = asyncio.get_running_loop().time()
    assert await ask(streams, b"abc") == b"ABC"
    assert asyncio.get_running_loop().time() - started_at >= 2 * SILENCE_S
    proxy.delay(0.0)
    assert await ask(streams, b"def") == b"DEF"


async def test_a_cut_ends_what_lives_and_welcomes_what_comes(proxy: Proxy, streams: Streams) -> None:
    await ask(streams, b"abc")
    proxy.cut()
    assert await ended(streams)
    again = await asyncio.open_connection(proxy.host, proxy.port)
    assert await ask(again, b"abc") == b"ABC"
    again[1].transport.abort()


async def test_lost_bytes_take_the_connection_with_them(proxy: Proxy, streams: Streams) -> None:
    await ask(streams, b"abc")
    proxy.lose(1.0)
    streams[1].write(b"abc")
    assert await ended(streams)


async def test_who_is_refused_is_not_served(proxy: Proxy) -> None:
    proxy.refuse()
    streams = await asyncio.open_connection(proxy.host, proxy.port)
    assert await ended(streams)
    proxy.heal()
    streams = await asyncio.open_connection(proxy.host, proxy.port)
    assert await ask(streams, b"abc") == b"ABC"
    streams[1].transport.abort()


async def test_an_end_on_one_side_reaches_the_other(proxy: Proxy, streams: Streams) -> None:
    await ask(streams, b"abc")
    streams[1].write_eof()
    assert await ended(streams)


async def ended(streams: Streams) -> bool:
    """The peer has closed, in order or not, and nothing came before."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await streams[0].read() == b""
    except ConnectionError:
        return True
    finally:
        streams[1].transport.abort()
