"""Whose turn it is to be upgraded: one broker at a time, among all that this operator looks after.

Knows who is being upgraded, or might be; does not know images. In memory: after a restart every broker tells anew.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mqtt_operator.reconcile.keys import BrokerKey


class Turns:
    """For one event loop; nothing here waits."""

    def __init__(self) -> None:
        self._upgrading: dict[BrokerKey, bool] = {}

    def before(self, key: BrokerKey, brokers: Iterable[BrokerKey]) -> BrokerKey | None:
        """A broker that `key` has to wait for: one that is being upgraded, or has not told yet. None: it may begin."""
        for other in sorted(brokers):
            if other != key and self._upgrading.get(other, True):
                return other
        return None

    @contextmanager
    def taken(self, key: BrokerKey) -> Iterator[None]:
        """It begins now, in the same moment in which `before` said that it may: two passes may be under way at a time.

        A pass that does not get through has begun nothing.
        """
        self.tell(key, is_upgrading=True)
        try:
            yield
        except BaseException:
            self.tell(key, is_upgrading=False)
            raise

    def tell(self, key: BrokerKey, *, is_upgrading: bool) -> None:
        """What the last pass of this broker found. One that cannot be upgraded keeps nobody waiting: it is not."""
        self._upgrading[key] = is_upgrading

    def tell_first(self, key: BrokerKey) -> None:
        """The first pass of this broker is over. One that never got as far as its nodes upgrades nothing."""
        self._upgrading.setdefault(key, False)

    def forget(self, key: BrokerKey) -> None:
        """The broker is gone."""
        self._upgrading.pop(key, None)
