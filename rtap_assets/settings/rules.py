"""Rules of single settings and between them, each with what to write instead.

No message repeats a value that was refused: it may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qs, urlsplit

PREFIX = "RTAP_"
OTHER_NAMES = frozenset({"RTAP_PYTHON"})  # read by `.ci/setup` alone
# Settings of earlier versions that are constants now, with what holds instead.
REMOVED_NAMES = {
    "RTAP_COMPACTION_OPEN_DAYS": "today's and yesterday's files are never compacted",
    "RTAP_DQ_ROLLUP_SECONDS": "the pass judges every RTAP_DQ_INTERVAL_MINUTES",
    "RTAP_MAINTENANCE_TIMEOUT_SECONDS": "a maintenance may take an hour",
    "RTAP_MANIFEST_REWRITE_COUNT": "more than 50 manifests are rewritten",
    "RTAP_SPARK_COUNT_STATE_ROWS": "the rows are counted; RTAP_SPARK_EXTRA_CONF can turn it off",
}
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
NUMBER_FAULTS = frozenset({"float_parsing", "int_parsing", "int_from_float", "float_type", "int_type"})
UNITS = ("seconds", "minutes", "hours", "days", "bytes")
MEMORY = re.compile(r"^[1-9]\d*[mg]$")
BROKER = re.compile(r"^(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}$")
CATALOG_SCHEMES = ("jdbc:postgresql://", "http://", "https://")


def one_of(value: str, choices: tuple[str, ...]) -> str:
    """Return the choice in lower case."""
    if value.lower() not in choices:
        raise ValueError(f"write one of {', '.join(choices)}")
    return value.lower()


def security_protocol(value: str) -> str:
    """Return the protocol as Kafka's clients write it."""
    if value.upper() not in SECURITY_PROTOCOLS:
        raise ValueError(f"there is no such security protocol: write one of {', '.join(SECURITY_PROTOCOLS)}")
    return value.upper()


def sasl_mechanism(value: str) -> str:
    """Return the mechanism as Kafka's clients write it; empty for none."""
    if value and value.upper() not in SASL_MECHANISMS:
        raise ValueError(f"this SASL mechanism is not supported: write one of {', '.join(SASL_MECHANISMS)}")
    return value.upper()


def heap(value: str) -> str:
    """Return a heap size as Java takes it."""
    if not MEMORY.match(value.lower()):
        raise ValueError("write a whole number and m or g, for example 2g or 1536m")
    return value.lower()


def brokers(value: str) -> str:
    """Return bootstrap servers: a list of host:port."""
    if value and not all(BROKER.match(one.strip()) for one in value.split(",")):
        raise ValueError(
            "write host:port, several with commas between them; user and password go to RTAP_KAFKA_USERNAME and "
            "RTAP_KAFKA_PASSWORD"
        )
    return value


def web_address(value: str, *, credentials: str) -> str:
    """Return an http or https address without credentials; `credentials` says where they go."""
    if not value:
        return value
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an address that begins with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError(f"an address with user and password ends up in logs: write it without them; {credentials}")
    return value


def catalog_address(value: str) -> str:
    """Return a catalog's address without credentials."""
    if not value:
        return value
    if not value.startswith(CATALOG_SCHEMES):
        raise ValueError("write jdbc:postgresql://host:port/database, or the http(s) address of a REST catalog")
    parts = _split(value.removeprefix("jdbc:"))
    if "@" in parts.netloc or {"user", "password"} & set(parse_qs(parts.query)):
        raise ValueError(
            "an address with user and password ends up in logs: write it without them; they go to RTAP_CATALOG_USER and "
            "RTAP_CATALOG_PASSWORD"
        )
    return value


def store_address(value: str) -> str:
    """Return a warehouse's address without credentials."""
    if "://" in value and "@" in _split(value).netloc:
        raise ValueError("an address with keys ends up in logs: write it without them; keys go to RTAP_SPARK_EXTRA_CONF")
    return value


def login(value: str) -> str:
    """Return credentials of the form user:password."""
    if value and not (":" in value and value.partition(":")[0]):
        raise ValueError("write user:password")
    return value


def login_of_broker(*, protocol: str, mechanism: str, username: str, has_password: bool) -> None:
    """Refuse a login that is not complete, or that the protocol does not use."""
    if protocol.startswith("SASL_"):
        given = {
            "RTAP_KAFKA_SASL_MECHANISM": mechanism,
            "RTAP_KAFKA_USERNAME": username,
            "RTAP_KAFKA_PASSWORD": has_password,
        }
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise ValueError(f"RTAP_KAFKA_SECURITY_PROTOCOL={protocol} needs {', '.join(missing)} as well")
    elif mechanism:
        raise ValueError(
            f"RTAP_KAFKA_SASL_MECHANISM is not used with RTAP_KAFKA_SECURITY_PROTOCOL={protocol}: write SASL_SSL or "
            "SASL_PLAINTEXT there, or leave the mechanism empty"
        )


def different_ports(ports: Mapping[str, int]) -> None:
    """Refuse two settings with the same port."""
    names: dict[int, list[str]] = {}
    for name, port in ports.items():
        names.setdefault(port, []).append(name)
    shared = [f"{' and '.join(users)} are both {port}" for port, users in names.items() if len(users) > 1]
    if shared:
        raise ValueError(f"{'; '.join(shared)}: give each a port of its own")


def removed_names(given: Iterable[str]) -> list[str]:
    """Return a sentence for each setting of an earlier version, with what holds instead."""
    return [f"{name} is no setting any more: {REMOVED_NAMES[name]}" for name in sorted(_upper(given) & REMOVED_NAMES.keys())]


def unknown_names(given: Iterable[str], *, known: Iterable[str]) -> list[str]:
    """Return a sentence for each `RTAP_…` name that is no setting, with the one that may be meant."""
    settings = {f"{PREFIX}{name.upper()}" for name in known}
    found = []
    for name in sorted(_upper(given) - settings - OTHER_NAMES - REMOVED_NAMES.keys()):
        meant = get_close_matches(name, settings, n=1)
        found.append(f"{name} is no setting" + (f" (is {meant[0]} meant?)" if meant else ""))
    return found


def fault_text(fault: Mapping[str, Any], *, defaults: Mapping[str, object]) -> str:
    """Return what is wrong with a value: the variable's name, the rule, and for a number what to write."""
    field = str(fault["loc"][0]) if fault["loc"] else ""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] in NUMBER_FAULTS:
        unit = next((f" of {unit}" for unit in UNITS if field.endswith(unit)), "")
        message = f"write a plain number{unit} without a unit, for example {defaults.get(field)}"
    name = "_".join(str(part) for part in fault["loc"]).upper()
    return f"{PREFIX}{name}: {message}" if name else message


def _upper(given: Iterable[str]) -> set[str]:
    return {name.upper() for name in given if name.upper().startswith(PREFIX)}


def _split(value: str) -> Any:
    try:
        return urlsplit(value)
    except ValueError as error:
        raise ValueError("this is no address") from error
