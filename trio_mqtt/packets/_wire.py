"""Data types of the wire, as pure functions (1.5).

Reading takes a position in `data` and the end of what may be read, and returns the value with the
position behind it. What does not fit raises MalformedPacket; nothing else can come out. Writing
returns bytes and raises LocalProtocolError.
"""

from __future__ import annotations

from trio_mqtt._errors import LocalProtocolError, MalformedPacket

MAXIMUM_VARINT = 268_435_455
LARGEST_PACKET = 5 + MAXIMUM_VARINT  # the longest fixed header and Remaining Length (2.1.4)
MAXIMUM_STRING_BYTES = 65_535
MAXIMUM_TWO_BYTE = 65_535
MAXIMUM_FOUR_BYTE = 4_294_967_295
_CONTINUES = 0x80
_SHORTEST = (0, 0, 1 << 7, 1 << 14, 1 << 21)  # least value for which so many bytes are needed


def _too_short(what: str, end: int) -> MalformedPacket:
    return MalformedPacket(f"the packet ends at byte {end}, inside {what}", statement="2.1.4")


def read_byte(data: bytes, position: int, end: int, what: str) -> tuple[int, int]:
    """Read one byte."""
    if position >= end:
        raise _too_short(what, end)
    return data[position], position + 1


def read_two_byte(data: bytes, position: int, end: int, what: str) -> tuple[int, int]:
    """Read a Two Byte Integer (1.5.2)."""
    if position + 2 > end:
        raise _too_short(what, end)
    return data[position] << 8 | data[position + 1], position + 2


def read_four_byte(data: bytes, position: int, end: int, what: str) -> tuple[int, int]:
    """Read a Four Byte Integer (1.5.3)."""
    if position + 4 > end:
        raise _too_short(what, end)
    return int.from_bytes(data[position : position + 4], "big"), position + 4


def read_varint(
    data: bytes, position: int, end: int, what: str, *, shortest: bool = True
) -> tuple[int, int]:
    """Read a Variable Byte Integer (1.5.5), refusing overlong ones if `shortest`."""
    value = 0
    for count in range(1, 5):
        if position >= end:
            raise _too_short(what, end)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * (count - 1))
        if byte < _CONTINUES:
            if shortest and value < _SHORTEST[count]:
                message = f"{what} takes {count} bytes for {value}, more than it needs"
                raise MalformedPacket(message, statement="MQTT-1.5.5-1")
            return value, position
    raise MalformedPacket(f"{what} is longer than four bytes", statement="1.5.5")


def read_binary(data: bytes, position: int, end: int, what: str) -> tuple[bytes, int]:
    """Read Binary Data (1.5.6)."""
    length, position = read_two_byte(data, position, end, what)
    if position + length > end:
        raise _too_short(what, end)
    return data[position : position + length], position + length


def decode_string(raw: bytes, what: str) -> str:
    """Turn the bytes of a UTF-8 Encoded String into text (1.5.4)."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        message = f"{what} is not well-formed UTF-8: {error.reason} at byte {error.start}"
        raise MalformedPacket(message, statement="MQTT-1.5.4-1") from None
    if "\0" in text:
        raise MalformedPacket(f"{what} contains U+0000", statement="MQTT-1.5.4-2")
    return text


def read_string(data: bytes, position: int, end: int, what: str) -> tuple[str, int]:
    """Read a UTF-8 Encoded String (1.5.4)."""
    raw, position = read_binary(data, position, end, what)
    return decode_string(raw, what), position


def write_varint(value: int) -> bytes:
    """Write a Variable Byte Integer in its shortest form (MQTT-1.5.5-1)."""
    if value < _CONTINUES:
        return bytes((value,))
    if value > MAXIMUM_VARINT:
        message = f"{value} is more than the {MAXIMUM_VARINT} that a packet can say"
        raise LocalProtocolError(message, statement="1.5.5")
    encoded = bytearray()
    while value >= _CONTINUES:
        encoded.append(value & 0x7F | _CONTINUES)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_two_byte(value: int, what: str, statement: str, *, least: int = 0) -> bytes:
    """Write a Two Byte Integer (1.5.2); `statement` is what another number violates."""
    if not least <= value <= MAXIMUM_TWO_BYTE:
        message = f"{what} is {value}; it must be from {least} to {MAXIMUM_TWO_BYTE}"
        raise LocalProtocolError(message, statement=statement)
    return value.to_bytes(2, "big")


def write_binary(value: bytes, what: str) -> bytes:
    """Write Binary Data (1.5.6)."""
    if len(value) > MAXIMUM_STRING_BYTES:
        message = f"{what} takes {len(value)} bytes, more than {MAXIMUM_STRING_BYTES}"
        raise LocalProtocolError(message, statement="1.5.6")
    return len(value).to_bytes(2, "big") + value


def write_string(value: str, what: str) -> bytes:
    """Write a UTF-8 Encoded String (1.5.4)."""
    if "\0" in value:
        raise LocalProtocolError(f"{what} contains U+0000", statement="MQTT-1.5.4-2")
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        message = f"{what} contains a surrogate, which UTF-8 cannot carry"
        raise LocalProtocolError(message, statement="MQTT-1.5.4-1") from None
    return write_binary(raw, what)
