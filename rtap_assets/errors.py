"""The one tree of errors. A message says what, where and what to do next; the context is kept in attributes.

Vendor exceptions are translated into these once, at the edge of layer 3, with ``raise … from``.
"""

from __future__ import annotations


class RtapError(Exception):
    """Base of every error that the platform raises on purpose.

    `remedy` is the next step for the person who reads it; it is printed after the message.
    """

    def __init__(self, message: str, *, remedy: str = "", **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.context = context

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class ConfigurationError(RtapError):
    """A setting, the Java runtime, a jar or a port is not usable as it is."""


class ContractError(RtapError):
    """A schema breaks the contract: not readable, edited after publication, or incompatible."""


class DependencyUnavailable(RtapError):
    """A broker, registry or catalog did not answer within its deadline: try again when it is back."""


class StreamError(RtapError):
    """A streaming query failed, or its checkpoint does not belong to its table."""


class ServingError(RtapError):
    """A question to DuckDB, a mart or the published Parquet folder could not be answered."""


class LocalStackError(RtapError):
    """An embedded process (broker, registry, webserver, …) did not start, died, or is not ours."""
