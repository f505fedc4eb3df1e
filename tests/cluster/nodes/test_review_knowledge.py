"""What a node knows of sessions elsewhere does not outlive them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.nodes.inside import Inside
from mqtt_broker.wire.packets import ConnAck, Disconnect
from support.redis_server import redis_binary
from support.waiting import eventually

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path) as inside:
        yield inside


async def test_a_session_without_subscriptions_that_ended_elsewhere_is_not_remembered_by_a_node_that_started(
    inside: Inside,
) -> None:
    """The feed does not tell of its end; and who is remembered keeps its client id from every other principal."""
    near = await inside.node("near")
    publisher = near.come("p", lasts_s=0)
    await near.told(publisher, ConnAck)
    far = await inside.node("far")
    near.say(publisher, Disconnect())
    await eventually(lambda: publisher.is_closed, what="the publisher is gone")
    await near.hub.pump.idle()
    await near.told(near.come("q"), ConnAck)
    assert "p" not in far.hub.sessions
