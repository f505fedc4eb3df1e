"""A password that is made for somebody: when another follows it, and how long both are good for.

Knows times and which passwords are good; does not know where they are kept, or who uses them. Pure: the time, and the
new password, come in.

A new password is good before anybody is told it: it is *staged* until every node knows it. Then it takes the place of
the old one, which stays good for the overlap.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

OVERLAP_S_DEFAULT_MAX = 24 * 3600.0
OVERLAP_SHARE_DEFAULT = 0.1  # of the time between two passwords


class Generated(Struct, frozen=True, kw_only=True):
    """`password` is the one to use. `staged` follows it. `former` came before it, and is good until `former_until`."""

    password: bytes
    made_at: datetime
    staged: bytes | None = None
    former: bytes | None = None
    former_until: datetime | None = None

    @property
    def good(self) -> tuple[bytes, ...]:
        """All that may log in."""
        return tuple(each for each in (self.password, self.staged, self.former) if each is not None)

    def expired_at(self, now: datetime) -> tuple[bytes, ...]:
        """Those that were good until then, and are about to be forgotten."""
        is_over = self.former is not None and self.former_until is not None and now >= self.former_until
        return (self.former,) if is_over and self.former is not None else ()

    def __repr__(self) -> str:
        return f"Generated(made_at={self.made_at}, staged={self.staged is not None}, former={self.former is not None})"


class Schedule(Struct, frozen=True, kw_only=True):
    """`every_s` None: the password stays. `overlap_s` None: a tenth of it, and at most a day."""

    every_s: float | None = None
    overlap_s: float | None = None

    @property
    def overlap(self) -> timedelta:
        if self.overlap_s is not None:
            return timedelta(seconds=self.overlap_s)
        return timedelta(seconds=min((self.every_s or 0.0) * OVERLAP_SHARE_DEFAULT, OVERLAP_S_DEFAULT_MAX))


def step(
    known: Generated | None,
    schedule: Schedule,
    now: datetime,
    new_password: Callable[[], bytes],
    *,
    is_staged_everywhere: bool,
    is_former_nowhere: bool,
) -> Generated:
    """How it should be now. The same again is no change.

    `is_staged_everywhere`: every node accepts what is staged. `is_former_nowhere`: no node accepts the former one any
    more; until then everything waits, for whoever begins anew has to find out which one it was.
    """
    if known is None:
        return Generated(password=new_password(), made_at=now)
    if known.former_until is not None and now >= known.former_until:
        if not is_former_nowhere:
            return known
        known = replace(known, former=None, former_until=None)
    if schedule.every_s is None:
        return replace(known, staged=None)
    if known.staged is not None:
        return _promoted(known, schedule, now) if is_staged_everywhere else known
    if now >= known.made_at + timedelta(seconds=schedule.every_s):
        return replace(known, staged=new_password())
    return known


def due_at(known: Generated, schedule: Schedule) -> datetime | None:
    """When `step` has something to do again; None: never. What waits for nodes waits for no time."""
    moments = [] if known.former_until is None else [known.former_until]
    if schedule.every_s is not None and known.staged is None:
        moments.append(known.made_at + timedelta(seconds=schedule.every_s))
    return min(moments, default=None)


def _promoted(known: Generated, schedule: Schedule, now: datetime) -> Generated:
    assert known.staged is not None
    has_overlap = schedule.overlap > timedelta(0)
    return Generated(
        password=known.staged,
        made_at=now,
        former=known.password if has_overlap else None,
        former_until=now + schedule.overlap if has_overlap else None,
    )
