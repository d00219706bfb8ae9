"""How a Kafka value says which schema wrote it: what serializers put before the body, or into the record's headers.

Confluent's format (magic byte 0, four bytes of schema id, Avro body) is what the contract asks for; the others are decoded
where the registry in use knows their ids, and named where it does not.
Sources: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format,
https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/getting-started/assembly-using-kafka-client-serdes.html,
https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

from __future__ import annotations

import struct

from rtap_assets.errors import ContractError

MAGIC_BYTE = 0
HEADER_BYTES = 5
MAX_SCHEMA_ID = 2**32 - 1
# A registry's ids are positive signed integers; beyond, and at 0 and below, there is nothing to ask for.
LARGEST_REAL_ID = 2**31 - 1

# Apicurio's format of up to version 2: magic byte 0, eight bytes of id. In Confluent's format that would be schema id 0.
WIDE_HEADER_BYTES = 9

# Record headers that carry the id of the value's schema; the value is then the bare body.
CONFLUENT_ID_HEADER = "__value_schema_id"
APICURIO_GLOBAL_ID_HEADER, APICURIO_CONTENT_ID_HEADER = "apicurio.value.globalId", "apicurio.value.contentId"
OLD_APICURIO_GLOBAL_ID_HEADER = "apicurio.registry.globalId"
ID_HEADERS = (
    CONFLUENT_ID_HEADER,
    APICURIO_GLOBAL_ID_HEADER,
    APICURIO_CONTENT_ID_HEADER,
    OLD_APICURIO_GLOBAL_ID_HEADER,
)
# Headers that name a schema in a way that is not looked up here: an artifact's name, a hash, a content type.
NAMING_HEADERS = {
    "apicurio.value.artifactId": "Apicurio's headers with an artifact's name instead of an id",
    "apicurio.registry.artifactId": "Apicurio's headers with an artifact's name instead of an id",
    "apicurio.value.contentHash": "Apicurio's headers with a content hash instead of an id",
    "content-type": "the content type {value}",
    "contentType": "the content type {value}",
    "ce_datacontenttype": "a CloudEvent of content type {value}",
}
# In how many first bytes a framing is looked for.
SIGNATURE_BYTES = 48

_HEX = "(?:3[0-9]|[46][1-6])"  # a hexadecimal digit in ASCII, in hexadecimal
_TEXT = "(?:[2-6][0-9A-F]|7[0-9A-E])"
_SPACE = "(?:09|0A|0D|20)*"
# What serializers of other registries write, as a pattern over the first bytes in hexadecimal: the first that matches.
FRAMINGS: dict[str, str] = {
    "AWS Glue Schema Registry (header version 3, a schema version's UUID)": "^03(?:00|05).{12}4.{3}[89AB]",
    "Avro single-object encoding (C3 01 and a schema fingerprint)": "^C301.{16}",
    "an Avro object container file (Obj 1)": "^4F626A01",
    "Azure Schema Registry (four zero bytes and a schema id in hexadecimal)": f"^00000000{_HEX}{{32}}",
    "Cloudera or Hortonworks Schema Registry (protocol 1)": "^0100000000.{8}0000",
    "Cloudera or Hortonworks Schema Registry (protocol 2)": "^0200000000.{8}",
    "Cloudera or Hortonworks Schema Registry (protocol 3)": "^030000.{4}",
    "Base64 text of a framed value": "^41414141",
    "an Avro body without any framing": f"^48{_HEX}{{8}}2D{_HEX}{{4}}2D",
}
OTHER_FORMATS: dict[str, str] = {
    "JSON text": f"^(?:EFBBBF)?{_SPACE}(?:7B{_SPACE}(?:22|7D|$)|5B{_SPACE}(?:7B|22|5B|5D|$)|22{_TEXT}{{2}})",
    "XML text": f"^(?:EFBBBF)?{_SPACE}3C(?:3F|21|[46][1-9A-F]|[57][0-9A])",
    "UTF-16 text": "^(?:FFFE|FEFF|7B002200|007B0022)",
    "gzip data": "^1F8B08",
    "zstd data": "^28B52FFD",
    "a serialized Java object": "^ACED0005",
    "a Parquet file": "^50415231",
    "Smile (binary JSON)": "^3A290A",
    "MessagePack": f"^(?:8[1-9A-F]|DE00..)(?:A[1-9A-F]|B[0-9A-F])(?:{_TEXT}){{2}}",
    "CBOR": f"^(?:A[1-9A-F]|B[0-9A-F])(?:6[1-9A-F]|7[0-7])(?:{_TEXT}){{2}}",
    "Protobuf (a text as field 1)": f"^0A(?:0[2-9A-F]|[1-7][0-9A-F]){_TEXT}{{2}}",
}

_HEADER = struct.Struct(">BI")


def value_subject(topic: str) -> str:
    """Return the subject of a topic's values, by the registry's topic name strategy."""
    return f"{topic}-value"


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
