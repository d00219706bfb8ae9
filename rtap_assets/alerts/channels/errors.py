"""The one error of all channels; its message names no address, user or password."""

from __future__ import annotations


class DeliveryError(Exception):
    """A message was not delivered. `is_refusal`: the receiver answered that it never takes this message.

    `retry_after_seconds` is what the receiver asked for; None where it did not.
    """

    def __init__(self, message: str, *, is_refusal: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal
        self.retry_after_seconds = retry_after_seconds
