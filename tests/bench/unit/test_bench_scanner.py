"""The scanner reads what a broker sends, however it is cut, and believes nothing it did not read."""

import struct

import pytest

from bench.driver import frames
from bench.driver.ledger import Ledger
from bench.driver.scanner import FrameError, Scanner
from bench.workloads.base import TopicsOf

COUNT = 40


def stream_of(qos: int, version: int = frames.V311, topics: int = 1, count: int = COUNT) -> bytes:
    names = TopicsOf(topics).names(0)
    made = [
        frames.publish(names[i % topics], qos, version, frames.payload(0, i), frames.packet_id_of(i))
        for i in range(count)
    ]
    return b"".join(made)


def scanner(version: int = frames.V311, topics: int = 1) -> Scanner:
    return Scanner(version, Ledger(1), TopicsOf(topics).of)


def state(read: Scanner) -> tuple[object, ...]:
    ledger = read.ledger
    faults = (ledger.corrupt, ledger.duplicated, ledger.reordered)
    return (ledger.received, list(ledger.next), *faults, read.acknowledged, read.refused, read.answers)


@pytest.mark.parametrize("version", [frames.V311, frames.V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("cut", [1, 7, 90, 1_000, 1 << 20])
def test_frames_count_alike_however_the_stream_is_cut(cut: int, qos: int, version: int) -> None:
    data = stream_of(qos, version)
    read = scanner(version)
    reply = b"".join(read.feed(data[at : at + cut]) for at in range(0, len(data), cut))
    assert state(read)[:5] == (COUNT, [COUNT], 0, 0, 0)
    first = {0: b"", 1: b"\x40\x02", 2: b"\x50\x02"}[qos]
    wanted = b"".join(first + struct.pack(">H", frames.packet_id_of(i)) for i in range(COUNT)) if qos else b""
    assert reply == wanted


def test_topics_in_turn_are_each_checked() -> None:
    read = scanner(topics=10)
    read.feed(stream_of(0, topics=10))
    assert state(read)[:3] == (COUNT, [COUNT], 0)


def test_a_frame_under_another_topic_is_corrupt() -> None:
    read = scanner()
    read.feed(frames.publish("bench/load-p0001/00000", 0, frames.V311, frames.payload(0, 0)))
    assert read.ledger.corrupt == 1


@pytest.mark.parametrize("at", [0, COUNT // 2, COUNT - 1])
def test_one_changed_byte_in_a_run_is_noticed(at: int) -> None:
    width = len(stream_of(0)) // COUNT
    data = bytearray(stream_of(0))
    data[at * width + width - 1] ^= 1
    read = scanner()
    read.feed(bytes(data))
    assert read.ledger.corrupt == 1
    assert read.ledger.received == COUNT


def test_a_shorter_payload_is_corrupt_not_delivered() -> None:
    read = scanner()
    read.feed(frames.publish("bench/load-p0000/00000", 0, frames.V311, b"short"))
    assert (read.ledger.received, read.ledger.corrupt, read.ledger.next) == (1, 1, [0])


def test_a_lost_frame_in_the_middle_of_a_run_is_lost() -> None:
    width = len(stream_of(0)) // COUNT
    data = stream_of(0)
    read = scanner()
    read.feed(data[: 20 * width] + data[21 * width :])
    assert read.ledger.lost({0: COUNT}) == 1


def test_a_doubled_frame_in_a_run_is_a_duplicate() -> None:
    width = len(stream_of(0)) // COUNT
    data = stream_of(0)
    read = scanner()
    read.feed(data[: 20 * width] + data[19 * width :])
    assert (read.ledger.duplicated, read.ledger.lost({0: COUNT})) == (1, 0)


def test_two_swapped_frames_in_a_run_are_reordered() -> None:
    width = len(stream_of(0)) // COUNT
    pieces = [stream_of(0)[i * width : (i + 1) * width] for i in range(COUNT)]
    pieces[20], pieces[21] = pieces[21], pieces[20]
    read = scanner()
    read.feed(b"".join(pieces))
    assert (read.ledger.reordered, read.ledger.lost({0: COUNT}), read.ledger.duplicated) == (1, 0, 0)


@pytest.mark.parametrize("cut", [1, 3, 64])
def test_acknowledgements_are_counted_and_answered(cut: int) -> None:
    data = b"\x40\x02\x00\x01" * 3 + b"\x50\x02\x00\x05\x50\x02\x00\x06" + b"\x62\x02\x00\x07" + b"\x70\x02\x00\x08"
    read = scanner()
    reply = b"".join(read.feed(data[at : at + cut]) for at in range(0, len(data), cut))
    assert read.acknowledged == 4
    assert reply == b"\x62\x02\x00\x05\x62\x02\x00\x06\x70\x02\x00\x07"


@pytest.mark.parametrize(
    ("frame", "refused"),
    [(b"\x40\x03\x00\x01\x87", 1), (b"\x50\x03\x00\x01\x97", 1), (b"\x40\x03\x00\x01\x10", 0)],
)
def test_a_refusal_is_counted_and_not_taken_for_success(frame: bytes, refused: int) -> None:
    read = scanner(frames.V5)
    assert read.feed(frame) == b""
    assert (read.acknowledged, read.refused) == (1, refused)


def test_other_frames_are_kept_whole_for_whoever_waits() -> None:
    read = scanner()
    read.feed(b"\x20\x02\x00")
    assert read.answers == []
    read.feed(b"\x00\x90\x03\x00\x01\x80")
    assert read.answers == [b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x80"]


def test_stamped_messages_give_their_latency() -> None:
    read = scanner()
    read.feed(frames.publish("bench/load-p0000/00000", 0, frames.V311, frames.payload(0, 0, 1_000)), now_ns=5_000)
    assert read.ledger.latencies_ns == [4_000]


def test_a_length_of_five_bytes_is_no_mqtt() -> None:
    with pytest.raises(FrameError):
        scanner().feed(b"\x30\xff\xff\xff\xff\x01")
