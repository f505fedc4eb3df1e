"""What goes ahead of others while the store is full changes nothing for those it overtakes."""

from mqtt_broker.node.pump import CommitPump
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Acknowledge, Membership, Operation, StoreFull, Subscribe, Unsubscribe
from unit.mqtt_broker.node.test_pump import ScriptedStore

ME = Membership(node="n0", token=1)


def write(client_id: str) -> Subscribe:
    return Subscribe(client_id=client_id, incarnation=1, epoch=1, subscriptions=(Subscription(filter="t"),))


def remove(client_id: str) -> Unsubscribe:
    return Unsubscribe(client_id=client_id, incarnation=1, epoch=1, keys=(("t", None),))


async def test_an_unsubscribe_does_not_overtake_the_subscribe_before_it() -> None:
    """[MQTT-3.10.4-1] Or the subscription would be there after its UNSUBACK."""
    store = ScriptedStore(StoreFull("full"))
    pump = CommitPump(store, ME, lambda _: None)
    acknowledge = Acknowledge(client_id="c", epoch=1, sequences=(1,))
    for operation in (write("c"), remove("c"), acknowledge, remove("d")):
        pump.submit(operation)
    await pump.idle()
    done: list[Operation] = [operation for _, batch in store.batches[1:] for operation in batch]
    assert done == [acknowledge, remove("d"), write("c"), remove("c")]
