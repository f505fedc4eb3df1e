"""The walk over WebSocket frames: masks and lengths, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.node.transports.frame_guard import FrameGuard, MessageTooBigError, UnmaskedFrameError
from support.websocket import BINARY, CONTINUATION, PING, frame

BYTES_MAX = 70_000
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, BYTES_MAX]


def check(*parts: bytes, limit: int = BYTES_MAX) -> None:
    guard = FrameGuard()
    for part in parts:
        guard.check(part, limit)


@pytest.mark.parametrize("size", SIZES)
def test_masked_frames_up_to_the_limit_pass(size: int) -> None:
    check(frame(BINARY, bytes(size)) * 2)


@pytest.mark.parametrize("size", SIZES)
def test_an_unmasked_frame_is_refused_by_its_second_byte(size: int) -> None:
    with pytest.raises(UnmaskedFrameError):
        check(frame(BINARY, b"good"), frame(BINARY, bytes(size), masked=False)[:2])


@pytest.mark.parametrize("announced", [BYTES_MAX + 1, 2**32, 2**63, 2**64 - 1])
def test_a_length_above_the_limit_is_refused_when_it_is_announced(announced: int) -> None:
    with pytest.raises(MessageTooBigError):
        check(frame(BINARY, length=announced))


def test_fragments_count_together_and_control_frames_do_not() -> None:
    half = bytes(BYTES_MAX // 2)
    whole = [frame(BINARY, half, final=False), frame(PING, bytes(125)), frame(CONTINUATION, half)]
    check(*whole, *whole)
    with pytest.raises(MessageTooBigError):
        check(*whole[:2], frame(CONTINUATION, half, final=False), frame(CONTINUATION, b"x"))


def test_the_limit_is_that_of_the_moment() -> None:
    guard = FrameGuard()
    guard.check(frame(BINARY, bytes(10)), 10)
    guard.check(frame(BINARY, bytes(20)), 20)
    with pytest.raises(MessageTooBigError):
        guard.check(frame(BINARY, bytes(20)), 10)


@given(
    st.lists(st.tuples(st.sampled_from([BINARY, PING]), st.sampled_from([0, 1, 125, 126, 300])), max_size=8), st.data()
)
def test_cutting_changes_nothing(frames: list[tuple[int, int]], data: st.DataObject) -> None:
    """An unmasked frame is found behind any good ones, whichever way the bytes come in."""
    stream = b"".join(frame(opcode, bytes(size)) for opcode, size in frames) + frame(BINARY, masked=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream) - 2), max_size=6)))
    guard, start = FrameGuard(), 0
    for cut in cuts:
        guard.check(stream[start:cut], BYTES_MAX)
        start = cut
    with pytest.raises(UnmaskedFrameError):
        guard.check(stream[start:], BYTES_MAX)
