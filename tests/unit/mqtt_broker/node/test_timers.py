"""The timing wheel: deadlines that move, expire, are forgotten, or fail."""

from mqtt_broker.node.timers import TimingWheel


class Item:
    def __init__(self, deadline: float | None, on_expire: object = None) -> None:
        self.at = deadline
        self.expired_at: list[float] = []
        self.on_expire = on_expire

    def deadline(self) -> float | None:
        return self.at

    def expire(self, now: float) -> None:
        self.expired_at.append(now)
        if callable(self.on_expire):
            self.on_expire()


def never(error: Exception) -> None:
    raise AssertionError(f"no item fails here: {error!r}")


def test_an_item_expires_once_after_its_deadline() -> None:
    wheel, item = TimingWheel(0.0), Item(2.5)
    wheel.watch(item)
    wheel.turn(2.4, never)
    assert item.expired_at == []
    wheel.turn(3.2, never)
    wheel.turn(4.0, never)
    assert item.expired_at == [3.2]
    assert len(wheel) == 0


def test_a_deadline_that_moved_is_asked_for_again_when_its_old_moment_comes() -> None:
    wheel, item = TimingWheel(0.0), Item(2.0)
    wheel.watch(item)
    item.at = 10.0
    wheel.turn(9.0, never)
    assert item.expired_at == []
    wheel.turn(11.0, never)
    assert item.expired_at == [11.0]


def test_a_slow_loop_misses_no_slot() -> None:
    wheel = TimingWheel(0.0)
    items = [Item(float(second)) for second in range(1, 20)]
    for item in items:
        wheel.watch(item)
    wheel.turn(30.0, never)
    assert all(item.expired_at == [30.0] for item in items)


def test_an_item_without_a_deadline_is_not_kept() -> None:
    wheel = TimingWheel(0.0)
    wheel.watch(Item(None))
    assert len(wheel) == 0


def test_an_item_forgotten_by_one_that_expired_just_before_does_not_expire() -> None:
    wheel = TimingWheel(0.0)
    items = [Item(1.5), Item(1.5)]
    for index, item in enumerate(items):
        item.on_expire = lambda other=items[1 - index]: wheel.forget(other)
        wheel.watch(item)
    wheel.turn(5.0, never)
    assert sum(len(item.expired_at) for item in items) == 1


def test_one_failing_item_does_not_stop_the_others() -> None:
    def fail() -> None:
        raise RuntimeError("a bug in one connection")

    errors: list[Exception] = []
    wheel = TimingWheel(0.0)
    broken, whole = Item(1.0, fail), Item(1.0)
    wheel.watch(broken)
    wheel.watch(whole)
    wheel.turn(3.0, errors.append)
    assert whole.expired_at == [3.0]
    assert [str(error) for error in errors] == ["a bug in one connection"]
