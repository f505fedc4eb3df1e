"""Random changes of inputs, by seed: what a fuzzer without coverage can do. Knows bytes only."""

from collections.abc import Iterator, Sequence
from random import Random

from fuzz.corpora import INPUT_BYTES_MAX

CHANGES_MAX = 6
ODD_BYTES = (0x00, 0x01, 0x02, 0x04, 0x05, 0x10, 0x20, 0x30, 0x32, 0x34, 0x7F, 0x80, 0x82, 0xC0, 0xE0, 0xF0, 0xFF)


def mutations(inputs: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end. Equal inputs and seeds give equal mutations."""
    random = Random(seed)
    while True:
        data = bytearray(random.choice(inputs))
        for _ in range(random.randint(1, CHANGES_MAX)):
            _change(data, inputs, random)
        yield bytes(data[:INPUT_BYTES_MAX])


def _change(data: bytearray, inputs: Sequence[bytes], random: Random) -> None:
    at = random.randint(0, len(data))
    length = random.randint(1, 8)
    match random.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.choice(ODD_BYTES)
        case 2:
            data[at:at] = bytes([random.choice(ODD_BYTES) for _ in range(random.randint(1, 4))])
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[at : at + length]
        case 5 if at < len(data):
            data[at] = (data[at] + random.choice((-1, 1))) % 256
        case _:
            other = random.choice(inputs)
            start = random.randint(0, len(other))
            data[at:] = other[start:]
