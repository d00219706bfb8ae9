"""From events to a message: the document that every channel shapes in its own way. What producers wrote is made visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rtap_assets.alerts.model import AlertEvent, Kind, Message, Severity
from rtap_assets.alerts.rules import RULE_OF
from rtap_assets.config import Settings
from rtap_assets.contracts.visible import visible

MOST_EVENTS = 30  # in the words of a message; the numbers count all
SUMMARY_CHARACTERS = 500
RUNBOOK = "docs/operations.md"
WORDS = {Kind.RAISED: "", Kind.WORSE: "worse: ", Kind.REMINDER: "still open: ", Kind.RECOVERED: "recovered: "}


def compose(events: Sequence[AlertEvent], *, id: str, settings: Settings, now: datetime, dropped: int = 0) -> Message:
    """Return the message of these events, worst first. `dropped` earlier messages were given up and never arrived."""
    ordered = sorted(events, key=lambda one: (one.kind is Kind.RECOVERED, -one.severity.rank, one.at))
    shown = [_shown(event, settings) for event in ordered[:MOST_EVENTS]]
    document = {
        "id": id,
        "at": _instant(now),
        "source": "rtap",
        "title": title(ordered),
        "severity": _severity(ordered),
        "page": settings.page_address,
        "alerts": shown,
        "more": len(ordered) - len(shown),
        "dropped_messages": dropped,
    }
    return Message(id, now, document)


def title(events: Sequence[AlertEvent]) -> str:
    """Return one line: the only event, or how many of what."""
    if len(events) == 1:
        (only,) = events
        return f"{WORDS[only.kind]}{RULE_OF[only.rule].title} {visible(only.subject, limit=100)}"
    errors = sum(event.kind is not Kind.RECOVERED and event.severity is Severity.ERROR for event in events)
    recovered = sum(event.kind is Kind.RECOVERED for event in events)
    warnings = len(events) - errors - recovered
    parts = [(errors, "error"), (warnings, "warning"), (recovered, "recovery")]
    return ", ".join(f"{number} {_plural(word, number)}" for number, word in parts if number)


def lines(document: dict[str, Any]) -> list[str]:
    """Return the message as lines of plain text."""
    found = []
    for one in document["alerts"]:
        word = WORDS[Kind(one["kind"])]
        found += [f"[{one['severity']}] {word}{one['summary']}", f"    since {one['since']}; what to do: {one['runbook']}"]
    found += [f"and {document['more']} more: `rtap alerts list`"] if document["more"] else []
    if document["dropped_messages"]:
        found.append(f"{document['dropped_messages']} earlier messages could not be delivered and were given up.")
    return [*found, f"live page: {document['page']}"] if document["page"] else found


def runbook_link(rule: str, settings: Settings) -> str:
    """Return the address of a rule's entry in the runbook: of the page where there is one, else of the file."""
    return runbook_page(RULE_OF[rule].runbook, settings)


def runbook_page(heading: str, settings: Settings) -> str:
    """Return the address of a heading of the operations page; without an address of the page, its file."""
    return f"{settings.runbook_url or RUNBOOK}#{anchor(heading)}"


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as Markdown renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _shown(event: AlertEvent, settings: Settings) -> dict[str, Any]:
    return {
        "kind": event.kind.value,
        "rule": event.rule,
        "subject": visible(event.subject, limit=200),
        "severity": event.severity.value,
        "summary": visible(event.summary, limit=SUMMARY_CHARACTERS),
        "since": _instant(event.since),
        "at": _instant(event.at),
        "runbook": runbook_link(event.rule, settings),
    }


def _severity(events: Sequence[AlertEvent]) -> str:
    open_ones = [event for event in events if event.kind is not Kind.RECOVERED]
    return max((event.severity for event in open_ones), key=lambda one: one.rank).value if open_ones else "recovered"


def _plural(word: str, number: int) -> str:
    return word if number == 1 else {"recovery": "recoveries"}.get(word, f"{word}s")


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
