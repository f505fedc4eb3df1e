"""PasswordVerifier: what fits, what it costs, and how much may be asked of it at once.

Where the order of threads matters, the hash is a function that waits for the test: nothing sleeps, nothing is timed.
"""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import verify_secret

from mqtt_broker.auth import passwords
from mqtt_broker.auth.passwords import HASHES_PER_FAILURE, PASSWORD_BYTES_MAX, WAIT_S_MAX, Busy, PasswordVerifier

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = CHEAP.hash("right")
OTHER = CHEAP.hash("other")
ARGON2I = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.I).hash("right")


@pytest.fixture
def verifier() -> Iterator[PasswordVerifier]:
    verifier = PasswordVerifier(threads=1, waiting_max=1)
    yield verifier
    verifier.close()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every verifier that was really computed, in order."""
    computed: list[str] = []

    def record(verifier: bytes, password: bytes, kind: Type) -> bool:
        computed.append(verifier.decode())
        return verify_secret(verifier, password, kind)

    monkeypatch.setattr(passwords, "verify_secret", record)
    return computed


class Gate:
    """A hash that takes until the test opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.hashes = 0
        monkeypatch.setattr(passwords, "verify_secret", self._hash)

    def _hash(self, verifier: bytes, password: bytes, kind: Type) -> bool:
        self.hashes += 1
        self.entered.set()
        assert self.opened.wait(10)
        return True

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)


async def test_the_right_password_fits(verifier: PasswordVerifier) -> None:
    assert await verifier.verify([GOOD], b"right")


@pytest.mark.parametrize("password", [b"wrong", b"", b"Right", b"right\x00", b"\xff\xfe"])
async def test_any_other_password_does_not(verifier: PasswordVerifier, password: bytes) -> None:
    assert not await verifier.verify([GOOD], password)


async def test_while_one_password_replaces_another_both_fit(verifier: PasswordVerifier) -> None:
    assert await verifier.verify([GOOD, OTHER], b"right")
    assert await verifier.verify([GOOD, OTHER], b"other")


async def test_nothing_fits_a_user_without_verifiers(verifier: PasswordVerifier) -> None:
    assert not await verifier.verify([], b"right")


async def test_every_failure_costs_the_same_number_of_hashes(verifier: PasswordVerifier, hashed: list[str]) -> None:
    """Threat 21: an unknown user, a wrong password, one of a user with two passwords."""
    for hashes in ([], [GOOD], [GOOD, OTHER]):
        hashed.clear()
        assert not await verifier.verify(hashes, b"wrong")
        assert len(hashed) == HASHES_PER_FAILURE


async def test_an_unknown_user_costs_what_a_known_one_does(verifier: PasswordVerifier, hashed: list[str]) -> None:
    """The dummy takes the parameters of the verifiers that are in use."""
    await verifier.verify([GOOD], b"wrong")
    hashed.clear()
    await verifier.verify([], b"wrong")
    assert {computed.rsplit("$", 2)[0] for computed in hashed} == {"$argon2id$v=19$m=8,t=1,p=1"}


def test_the_dummy_is_really_hashed() -> None:
    """Were it malformed, it would be refused at no cost."""
    with pytest.raises(VerifyMismatchError):
        verify_secret((passwords._DEFAULT_PARAMETERS + passwords._DUMMY_TAIL).encode(), b"x", Type.ID)


async def test_a_password_beyond_the_bound_is_never_hashed(verifier: PasswordVerifier, hashed: list[str]) -> None:
    """Threat 22."""
    longest = b"x" * PASSWORD_BYTES_MAX
    assert await verifier.verify([CHEAP.hash(longest)], longest)
    hashed.clear()
    assert not await verifier.verify([CHEAP.hash(longest + b"x")], longest + b"x")
    assert hashed == []


@pytest.mark.parametrize(
    "broken",
    ["", "plain", "$argon2id$v=19$m=8,t=1,p=1$AAAA", ARGON2I, "$2b$12$" + "a" * 53],
    ids=["empty", "plain", "cut off", "Argon2i", "bcrypt"],  # a hash is new in each process, and a test's name is not
)
async def test_a_verifier_of_another_kind_fits_nothing_and_is_reported(
    verifier: PasswordVerifier, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await verifier.verify([broken], b"right")
    assert not await verifier.verify([broken], b"plain")
    assert "is not a valid Argon2id string" in caplog.text
    assert "right" not in caplog.text


async def test_a_broken_verifier_does_not_hide_the_good_one_after_it(verifier: PasswordVerifier) -> None:
    assert await verifier.verify(["broken", GOOD], b"right")


async def test_who_has_waited_for_too_long_costs_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a crowd that gives up and comes again would be hashed for ever, each of them too late."""
    now = 100.0
    verifier = PasswordVerifier(threads=1, waiting_max=2, clock=lambda: now)
    gate = Gate(monkeypatch)
    running = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await gate.until_entered()
    late = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await asyncio.sleep(0)
    now += WAIT_S_MAX + 0.1
    in_time = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(Busy):
        await late
    assert await running
    assert await in_time
    assert gate.hashes == 2
    verifier.close()


async def test_at_the_bound_the_answer_is_busy_and_nothing_is_hashed(
    verifier: PasswordVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    running = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await gate.until_entered()
    waiting = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await verifier.verify([GOOD], b"right")
    gate.opened.set()
    assert await running
    assert await waiting
    assert gate.hashes == 2
    assert await verifier.verify([GOOD], b"right")


async def test_a_cancelled_wait_gives_its_place_up_at_once(
    verifier: PasswordVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    running = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await gate.until_entered()
    for _ in range(50):
        waiting = asyncio.create_task(verifier.verify([GOOD], b"right"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    gate.opened.set()
    assert await running
    assert gate.hashes == 1


async def test_a_cancelled_hash_keeps_its_place_until_it_is_done(
    verifier: PasswordVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise connecting and leaving would start hashes without bound."""
    gate = Gate(monkeypatch)
    running = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await gate.until_entered()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    waiting = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await verifier.verify([GOOD], b"right")
    gate.opened.set()
    assert await waiting


async def test_a_closed_verifier_is_busy_for_ever(verifier: PasswordVerifier) -> None:
    verifier.close()
    verifier.close()
    with pytest.raises(Busy):
        await verifier.verify([GOOD], b"right")


async def test_closing_answers_no_to_what_still_waits(
    verifier: PasswordVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    running = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await gate.until_entered()
    waiting = asyncio.create_task(verifier.verify([GOOD], b"right"))
    await asyncio.sleep(0)
    verifier.close()
    gate.opened.set()
    assert await running
    assert not await waiting
    assert gate.hashes == 1
