"""Two rules of WebSocket framing that the framing library leaves to its user: masks, and early bounds.

Knows the header of a frame (RFC 6455, 5.2), just enough to walk from one to the next; does not know payloads, control
frames, closing or MQTT. Pure. Decoding, and every other rule, is the library's.
"""

_FINAL, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_CONTROL_OPCODES_MIN = 0x8
_LENGTH_BYTES = {126: 2, 127: 8}
_FIXED_BYTES, _MASK_BYTES = 2, 4


class UnmaskedFrameError(ValueError):
    """A client must mask every frame (RFC 6455, 5.1): close with 1002."""


class MessageTooBigError(ValueError):
    """A message announces more bytes than it may have: close with 1009."""


class FrameGuard:
    """Follows what one client sends after its handshake. After an error it is not to be asked again."""

    __slots__ = ("_header", "_message_bytes", "_payload_left_bytes")

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload_left_bytes = 0
        self._message_bytes = 0

    def check(self, data: bytes, message_bytes_max: int) -> None:
        """Look at the next bytes before they are decoded. Raises UnmaskedFrameError or MessageTooBigError.

        A length is refused when it is announced, so nobody gathers bytes for it.
        """
        position, end = 0, len(data)
        while position < end:
            if self._payload_left_bytes:
                step = min(self._payload_left_bytes, end - position)
                self._payload_left_bytes -= step
                position += step
                continue
            wanted = self._header_bytes() - len(self._header)
            self._header += data[position : position + wanted]
            position += wanted
            if len(self._header) >= _FIXED_BYTES and not self._header[1] & _MASKED:
                raise UnmaskedFrameError("a frame is not masked")
            if len(self._header) == self._header_bytes():
                self._begin_frame(message_bytes_max)

    def _header_bytes(self) -> int:
        """How long this header is, as far as can be told."""
        if len(self._header) < _FIXED_BYTES:
            return _FIXED_BYTES
        return _FIXED_BYTES + _LENGTH_BYTES.get(self._header[1] & _LENGTH, 0) + _MASK_BYTES

    def _begin_frame(self, message_bytes_max: int) -> None:
        first, length = self._header[0], self._header[1] & _LENGTH
        if length in _LENGTH_BYTES:
            length = int.from_bytes(self._header[_FIXED_BYTES:-_MASK_BYTES], "big")
        self._header.clear()
        self._payload_left_bytes = length
        if first & _OPCODE >= _CONTROL_OPCODES_MIN:
            return
        self._message_bytes += length
        if self._message_bytes > message_bytes_max:
            raise MessageTooBigError(f"a message of more than {message_bytes_max} bytes")
        if first & _FINAL:
            self._message_bytes = 0
