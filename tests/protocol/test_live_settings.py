"""Listeners that change while the node runs."""

import socket

import msgspec

from mqtt_api.node_settings import ListenerSettings
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker, listener, write
from support.client import dial


def change(broker: Broker, *listeners: ListenerSettings) -> None:
    broker.settings = msgspec.structs.replace(broker.settings, listeners=listeners)
    write(broker.folder / "settings.json", msgspec.json.encode(broker.settings))


async def test_a_listener_that_moves_is_open_at_its_new_port_and_closed_at_the_old(start_broker: StartBroker) -> None:
    broker = start_broker()
    old, moved = broker.port, listener()
    change(broker, moved)
    await broker.logged("settings.applied")
    async with await dial(moved.port) as client:
        assert (await client.connect("c")).reason is ReasonCode.SUCCESS
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", old)) != 0


async def test_a_listener_whose_new_port_is_in_use_serves_at_its_old_one_until_the_new_one_is_free(
    start_broker: StartBroker,
) -> None:
    broker = start_broker()
    old = broker.port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        change(broker, listener(port=other.getsockname()[1]))
        rejected = await broker.logged("settings.rejected")
        assert "in use" in rejected["problem"]
        assert not broker.status()["ready"]
        assert broker.events("settings.applied") == []
        async with await dial(old) as client:
            assert (await client.connect("c")).reason is ReasonCode.SUCCESS
    await broker.logged("settings.applied")
    assert broker.status()["ready"]
    async with await dial(broker.port) as client:
        assert (await client.connect("c")).reason is ReasonCode.SUCCESS


async def test_a_listener_that_is_no_longer_declared_closes_with_its_connections(start_broker: StartBroker) -> None:
    first, second = listener("first"), listener("second")
    broker = start_broker(listeners=(first, second))
    async with await dial(first.port) as stays, await dial(second.port) as goes:
        await stays.connect("stays")
        await goes.connect("goes")
        change(broker, first)
        last = await goes.expect_closed()
        assert last is not None
        assert last.reason is ReasonCode.SERVER_SHUTTING_DOWN
        await stays.ping()
