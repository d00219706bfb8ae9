"""Named repairs: pure functions from a dead letter to the key and value that are sent instead.

A repair changes what it names and keeps every other byte. A record that it does not fit is refused with a reason and left
in place. Projects add their own with `@repair` in a module listed in `RTAP_REDRIVE_MODULES` or in an entry point of the
group `rtap_assets.repairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from rtap_assets.contracts.avro.body_values import Fault, Reading, Value
from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAX_SCHEMA_ID, frame, unframe
from rtap_assets.contracts.dead_letters import DeadLetter, SchemaOf, read_value
from rtap_assets.contracts.text import trim
from rtap_assets.errors import ConfigurationError, ContractError

ENTRY_POINTS = "rtap_assets.repairs"

Parameters = Mapping[str, str]
KeyAndValue = tuple[bytes | None, bytes | None]
Function = Callable[[DeadLetter, SchemaOf, Parameters], KeyAndValue]


@dataclass(frozen=True)
class Repair:
    """A repair by name; all of `parameters` are required."""

    name: str
    doc: str
    parameters: tuple[str, ...]
    function: Function


_REPAIRS: dict[str, Repair] = {}


def repair(name: str, *, parameters: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Register the function under a name; the first line of its docstring is its description."""

    def register(function: Function) -> Function:
        if name in _REPAIRS and _REPAIRS[name].function is not function:
            raise ConfigurationError(f"Two repairs are named {name}.", remedy="Rename one of them.")
        doc = (function.__doc__ or "").strip().partition("\n")[0]
        _REPAIRS[name] = Repair(name, doc, tuple(parameters), function)
        return function

    return register


def load_repairs(modules: Sequence[str] = ()) -> dict[str, Repair]:
    """Return every repair by name, including those of the modules and of installed packages.

    Raises:
        ConfigurationError: a module cannot be imported, or two repairs have one name.
    """
    for point in entry_points(group=ENTRY_POINTS):
        _import(point.value.partition(":")[0])
    for module in modules:
        _import(module)
    return dict(sorted(_REPAIRS.items()))


def find_repair(name: str, parameters: Parameters, *, modules: Sequence[str] = ()) -> Repair:
    """Return the repair of a name; `parameters` must be exactly its own.

    Raises:
        ConfigurationError: the name is unknown, or a parameter is missing or unknown.
    """
    repairs = load_repairs(modules)
    if name not in repairs:
        raise ConfigurationError(f"There is no repair {name}.", remedy=f"Known are: {', '.join(repairs)}.")
    found = repairs[name]
    if set(parameters) != set(found.parameters):
        wanted = ", ".join(f"-p {parameter}=…" for parameter in found.parameters) or "none"
        raise ConfigurationError(
            f"The repair {name} has other parameters than {', '.join(sorted(parameters)) or 'none'}.",
            remedy=f"It takes: {wanted}.",
        )
    return found


@repair("resend")
def resend(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Change nothing: for records that were invalid only at the time, such as an event time ahead of the broker's clock."""
    return record.key, record.value


@repair("set-key-from-account-id")
def set_key_from_account_id(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Make the record's key its account_id, for null keys and keys that name another account."""
    account = _read(record, schema_of).find("account_id")
    if account is None or not account.content or not account.content.strip():
        raise ContractError("The record holds no account_id.")
    return _trimmed(account.content) or account.content, record.value


@repair("strip-trailing-bytes")
def strip_trailing_bytes(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Remove the bytes that follow the end of the event."""
    reading = _read(record, schema_of)
    value = record.value or b""
    if reading.end == len(value):
        raise ContractError("Nothing follows the end of the event.")
    return record.key, value[: reading.end]


@repair("trim-text")
def trim_text(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Remove white space, control and format characters around every text, the key among them."""
    key = record.key if record.key is None else _trimmed(record.key) or record.key
    return key, _edited(record, schema_of, lambda value: _trimmed(value.content) if value.kind == "string" else None)


@repair("replace-text", parameters=("field", "from", "to"))
def replace_text(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Replace a field that is exactly one text with another, for example a currency code that does not exist."""
    wanted, other = parameters["from"].encode(), parameters["to"].encode()

    def change(value: Value) -> bytes | None:
        return other if value.path == parameters["field"] and value.kind == "string" and value.content == wanted else None

    return record.key, _edited(record, schema_of, change)


@repair("recode-text", parameters=("encoding",))
def recode_text(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Decode every text that is not UTF-8 in another encoding, for example latin-1, and write it in UTF-8."""
    encoding = parameters["encoding"]

    def change(content: bytes | None) -> bytes | None:
        if content is None or _trimmed(content) is not None:
            return None
        try:
            return content.decode(encoding).encode()
        except (LookupError, UnicodeError) as error:
            raise ContractError(f"A text is not {encoding}: {error}.") from error

    key = change(record.key) or record.key
    return key, _edited(record, schema_of, lambda value: change(value.content) if value.kind == "string" else None)


@repair("make-amount-positive")
def make_amount_positive(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Remove the sign of a negative amount, for producers that write a refund as a negative number."""

    def change(value: Value) -> bytes | None:
        number = int.from_bytes(value.content or b"", "big", signed=True)
        if value.path != "amount" or value.content is None or number >= 0:
            return None
        width = len(value.content) if value.kind == "fixed" else number.bit_length() // 8 + 1
        try:
            return (-number).to_bytes(width, "big", signed=True)
        except OverflowError as error:
            raise ContractError(f"The amount does not fit {width} bytes without its sign.") from error

    return record.key, _edited(record, schema_of, change)


@repair("reframe-schema-id", parameters=("id",))
def reframe_schema_id(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Replace the schema id in the header, for a producer that wrote the wrong one; the body must fit the new schema."""
    if record.value is None or len(record.value) < HEADER_BYTES:
        raise ContractError("The value has no header whose schema id could be replaced.")
    return record.key, _framed(record.value[HEADER_BYTES:], schema_of, parameters)


@repair("add-header", parameters=("id",))
def add_header(record: DeadLetter, schema_of: SchemaOf, parameters: Parameters) -> KeyAndValue:
    """Put magic byte and schema id before a value that is a bare Avro body; it must fit the schema."""
    if not record.value:
        raise ContractError("There is no value.")
    return record.key, _framed(record.value, schema_of, parameters)


def _framed(body: bytes, schema_of: SchemaOf, parameters: Parameters) -> bytes:
    text = parameters["id"]
    if not text.isdigit() or int(text) > MAX_SCHEMA_ID:
        raise ConfigurationError(f"{text!r} is not a schema id.", remedy="Give a number, for example -p id=7.")
    value = frame(int(text), body)
    reading = read_value(value, schema_of)
    if reading is None:
        raise ContractError(f"The registry has no schema {text}.")
    structural = [finding for finding in reading.findings if finding.fault is not Fault.INVALID_UTF8]
    if structural:
        raise ContractError(f"The body does not fit schema {text}: {structural[0]}.")
    return value


def _read(record: DeadLetter, schema_of: SchemaOf) -> Reading:
    """Return the values of the whole event; trailing bytes, and text that is not UTF-8, are accepted."""
    if record.value is None:
        raise ContractError("The record has no value.")
    unframe(record.value)
    reading = read_value(record.value, schema_of)
    if reading is None:
        raise ContractError("The registry has no schema of the value's id.")
    if not reading.complete:
        raise ContractError(f"The value cannot be read to its end: {reading.findings[0]}.")
    return reading


def _edited(record: DeadLetter, schema_of: SchemaOf, change: Callable[[Value], bytes | None]) -> bytes:
    """Return the value with the content replaced where `change` returns one; every other byte stays.

    Raises:
        ContractError: the value cannot be read, or the content of a fixed would change its length.
    """
    reading = _read(record, schema_of)
    value, pieces, at = record.value or b"", [], 0
    for one in reading.values:
        content = change(one)
        if content is None or content == one.content:
            continue
        if one.kind == "fixed" and len(content) != one.end - one.start:
            raise ContractError(f"Field {one.path} has a fixed length of {one.end - one.start} bytes.")
        pieces += [value[at : one.start], b"" if one.kind == "fixed" else _length(len(content)), content]
        at = one.end
    return b"".join([*pieces, value[at:]])


def _length(number: int) -> bytes:
    """Return a length as Avro encodes it: zigzag, seven bits a byte."""
    rest, encoded = number << 1, bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


def _trimmed(content: bytes | None) -> bytes | None:
    """Return the text trimmed by the contract's rule; None when it is not UTF-8."""
    try:
        return None if content is None else trim(content.decode()).encode()
    except UnicodeDecodeError:
        return None


def _import(module: str) -> None:
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"The repairs of {module} cannot be loaded: {error}.", remedy="Correct RTAP_REDRIVE_MODULES."
        ) from error
