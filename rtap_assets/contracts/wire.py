"""The Confluent wire format of a Kafka value: magic byte 0, four bytes of schema id (unsigned, big-endian), Avro body.

Source: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

import struct

from rtap_assets.errors import ContractError

MAGIC_BYTE = 0
HEADER_BYTES = 5
MAX_SCHEMA_ID = 2**32 - 1

_HEADER = struct.Struct(">BI")


def header(schema_id: int) -> bytes:
    """The five bytes that precede every body written with `schema_id`."""
    return _HEADER.pack(MAGIC_BYTE, schema_id)


def frame(schema_id: int, body: bytes) -> bytes:
    """A Kafka value: the header of `schema_id`, then `body`."""
    return header(schema_id) + body


def unframe(value: bytes) -> tuple[int, bytes]:
    """The schema id and the Avro body of a Kafka value.

    Raises:
        ContractError: the value is shorter than the header, or does not start with the magic byte.
    """
    if len(value) < HEADER_BYTES:
        raise ContractError(
            f"A value of {len(value)} bytes cannot hold the {HEADER_BYTES} bytes of the wire format's header."
        )
    magic, schema_id = _HEADER.unpack_from(value)
    if magic != MAGIC_BYTE:
        raise ContractError(f"The value starts with byte {magic}, not with the magic byte {MAGIC_BYTE}.")
    return schema_id, value[HEADER_BYTES:]
