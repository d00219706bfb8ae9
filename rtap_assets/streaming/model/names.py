"""The names of the streams in the order of the flow, for those who talk about streams without Spark."""

from __future__ import annotations

STREAM_NAMES = ("bronze", "dlq", "silver", "gold")
