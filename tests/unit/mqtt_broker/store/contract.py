"""What every store must do: one suite, run against each adapter.

An adapter's test module subclasses `StoreContract` (and `DurableStoreContract` if it survives a restart) and provides
the fixture `world`, see harness.py.
"""

from unit.mqtt_broker.store.contract_batches import BatchesContract
from unit.mqtt_broker.store.contract_claims import ClaimsContract
from unit.mqtt_broker.store.contract_endings import EndingsContract
from unit.mqtt_broker.store.contract_groups import GroupsContract
from unit.mqtt_broker.store.contract_queues import QueuesContract


class StoreContract(BatchesContract, ClaimsContract, QueuesContract, GroupsContract, EndingsContract):
    """Every behaviour of the port but surviving a restart."""
