"""Sessions that move between nodes: confirmations and orders that come sooner than they are asked for."""

import asyncio

from mqtt_broker.node.peers.handover import REMEMBERED_S, Handover


async def test_a_confirmation_ends_the_wait_for_it() -> None:
    handover = Handover()
    waiting = asyncio.create_task(handover.wait("a", 4))
    await asyncio.sleep(0)
    handover.confirmed("a", 3, 0.0)
    handover.confirmed("b", 4, 0.0)
    await asyncio.sleep(0)
    assert not waiting.done()
    handover.confirmed("a", 4, 0.0)
    await waiting


async def test_a_confirmation_that_was_here_first_is_not_waited_for() -> None:
    handover = Handover()
    handover.confirmed("a", 4, 0.0)
    await handover.wait("a", 4)


async def test_two_who_wait_for_the_same_are_both_told() -> None:
    handover = Handover()
    waiting = [asyncio.create_task(handover.wait("a", 4)) for _ in range(2)]
    await asyncio.sleep(0)
    handover.confirmed("a", 4, 0.0)
    await asyncio.gather(*waiting)


def test_an_order_to_let_go_speaks_of_its_epoch_and_all_before() -> None:
    handover = Handover()
    handover.evicted("a", 4, 0.0)
    handover.evicted("a", 2, 0.0)
    assert handover.is_evicted("a", 4)
    assert handover.is_evicted("a", 3)
    assert not handover.is_evicted("a", 5)
    assert not handover.is_evicted("b", 1)


def test_what_is_old_is_forgotten() -> None:
    handover = Handover()
    handover.evicted("a", 4, 0.0)
    handover.forget_old(REMEMBERED_S - 1)
    assert handover.is_evicted("a", 4)
    handover.forget_old(REMEMBERED_S)
    assert not handover.is_evicted("a", 4)
