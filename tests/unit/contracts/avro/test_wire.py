"""The wire format, byte by byte."""

from __future__ import annotations

import pytest

from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAGIC_BYTE, MAX_SCHEMA_ID, frame, unframe
from rtap_assets.errors import ContractError


@pytest.mark.parametrize(
    "schema_id, value",
    [
        (1, b"\x00\x00\x00\x00\x01body"),
        (258, b"\x00\x00\x00\x01\x02body"),
        (2**31, b"\x00\x80\x00\x00\x00body"),
        (MAX_SCHEMA_ID, b"\x00\xff\xff\xff\xffbody"),
    ],
)
def test_a_schema_id_is_four_unsigned_bytes_after_the_magic_byte(schema_id: int, value: bytes) -> None:
    assert frame(schema_id, b"body") == value
    assert unframe(value) == (schema_id, b"body")


def test_an_empty_body_is_framed_by_the_header_alone() -> None:
    assert unframe(frame(7, b"")) == (7, b"")
    assert len(frame(7, b"")) == HEADER_BYTES


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00\x00\x00\x01"])
def test_a_value_without_room_for_a_header_is_refused(value: bytes) -> None:
    with pytest.raises(ContractError, match="cannot hold"):
        unframe(value)


def test_another_first_byte_than_the_magic_one_is_refused() -> None:
    assert MAGIC_BYTE == 0
    with pytest.raises(ContractError, match="magic byte"):
        unframe(b'{"event_id": 1}')
