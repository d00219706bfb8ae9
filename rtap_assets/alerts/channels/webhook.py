"""Webhooks: JSON by POST, in our own form, Slack's or Teams'. The address is a secret and in no message or log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx2

from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.composing import lines
from rtap_assets.alerts.model import Message
from rtap_assets.settings.webhooks import Webhook

REFUSALS = frozenset({400, 405, 406, 410, 413, 415, 422})
LONGEST_RETRY_AFTER_SECONDS = 3_600
SLACK_CHARACTERS, TEAMS_CHARACTERS = 2_900, 3_000
COLORS = {"error": "attention", "warning": "warning", "recovered": "good"}

# It logs the whole address of each request.
logging.getLogger("httpx2").setLevel(logging.WARNING)


def send(webhook: Webhook, message: Message, *, seconds: float) -> None:
    """Deliver a message; `Idempotency-Key` is the same at each attempt, so that a receiver can drop repeats.

    Raises:
        DeliveryError: there was no answer within the deadline, or one that is no success. Redirects are not followed.
    """
    anyio.run(_post, webhook, message, seconds)


async def _post(webhook: Webhook, message: Message, seconds: float) -> None:
    headers = {"Idempotency-Key": message.id, "User-Agent": "rtap-alerts"}
    try:
        # The deadline is of the whole exchange: a receiver that sends a byte now and then is late as well.
        with anyio.fail_after(seconds):
            async with httpx2.AsyncClient(timeout=None, follow_redirects=False) as client:
                body = FORMS[webhook.form](message)
                async with client.stream("POST", webhook.url, json=body, headers=headers) as response:
                    status, wait = response.status_code, _wait_seconds(response.headers)
    except TimeoutError:
        raise DeliveryError(f"no answer within {seconds:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        # Not its text and not its cause: both may hold the address.
        raise DeliveryError(f"could not be reached ({type(error).__name__})") from None
    if 200 <= status < 300:
        return
    note = ", a redirect, which is not followed: configure the final address" if 300 <= status < 400 else ""
    raise DeliveryError(f"answered {status}{note}", is_refusal=status in REFUSALS, retry_after_seconds=wait)


def _wait_seconds(headers: httpx2.Headers) -> float | None:
    """Return how long the receiver asks to wait, bounded: a number of seconds, or a time by its own clock.

    Source: RFC 9110, section 10.2.3.
    """
    text = headers.get("Retry-After", "")
    if text.isdecimal():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (ValueError, TypeError):  # neither, or one of them without a zone
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_SECONDS)


def slack(message: Message) -> dict[str, Any]:
    """Return the message as Slack's incoming webhooks take it."""
    document = dict(message.document)
    text = _cut("\n".join(lines(document)), SLACK_CHARACTERS)
    return {
        "text": _slack_escaped(f"rtap: {document['title']}"),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(f"rtap: {document['title']}", 150)}},
            {"type": "section", "text": {"type": "mrkdwn", "text": _slack_escaped(text), "verbatim": True}},
        ],
    }


def teams(message: Message) -> dict[str, Any]:
    """Return the message as a Teams workflow takes it: an Adaptive Card."""
    document = dict(message.document)
    head = {
        "type": "TextBlock",
        "size": "medium",
        "weight": "bolder",
        "wrap": True,
        "color": COLORS[document["severity"]],
        "text": f"rtap: {document['title']}",
    }
    text = _cut("\n\n".join(_markdown_escaped(line) for line in lines(document)), TEAMS_CHARACTERS)
    links = [{"type": "Action.OpenUrl", "title": "Live page", "url": document["page"]}] if document["page"] else []
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [head, {"type": "TextBlock", "wrap": True, "text": text}],
        "actions": links,
    }
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}],
    }


def plain(message: Message) -> dict[str, Any]:
    """Return the message in our own form: its document and its words."""
    document = dict(message.document)
    return document | {"text": "\n".join([document["title"], *lines(document)])}


FORMS: dict[str, Callable[[Message], dict[str, Any]]] = {"json": plain, "slack": slack, "teams": teams}


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown_escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*[]()#" else character for character in text)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
