"""Delivers what waits: per channel in order, with growing pauses after a failure; at least once, with an idempotency key.

"Once" has two parts: a message is sent until its receiver has confirmed it, and each attempt carries the same key. A process
that is killed between the confirmation and its note sends the message again; the receiver drops it by the key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from rtap_assets.alerts.channels import command, mail, webhook
from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.model import Message
from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings
from rtap_assets.runtime.clock import utc_now
from rtap_assets.runtime.locks import file_lock
from rtap_assets.settings.webhooks import parse_webhooks

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 900.0
MOST_REFUSALS = 5  # attempts at a message that the receiver never takes
BUDGET_SECONDS = 20.0  # of one call: a sensor's tick must end


@dataclass(frozen=True)
class Channel:
    """Where messages go. `label` names it without a secret, the same as long as the address is the same."""

    label: str
    send: Callable[[Message], None]


def channels_of(settings: Settings) -> list[Channel]:
    """Return the configured channels."""
    seconds = settings.alert_timeout_seconds
    hooks = parse_webhooks(settings.alert_webhooks.get_secret_value())
    found = [Channel(hook.label, partial(webhook.send, hook, seconds=seconds)) for hook in hooks]
    for recipient in settings.alert_mail_to:
        found.append(Channel(f"mail to {recipient}", partial(mail.send, settings, recipient, seconds=seconds)))
    if settings.alert_command:
        found.append(
            Channel(f"command {settings.alert_command[0]}", partial(command.send, settings.alert_command, seconds=seconds))
        )
    return found


def deliver(
    store: AlertStore,
    channels: Sequence[Channel],
    *,
    clock: Callable[[], datetime] = utc_now,
    budget_seconds: float = BUDGET_SECONDS,
) -> list[str]:
    """Send what is due and return a line per failure; does nothing while another process delivers.

    A message that fails holds back those behind it on its channel, so that no recovery comes before its alert.
    """
    failures: list[str] = []
    with file_lock(store.path.with_name("delivery.lock"), seconds=0) as is_ours:
        if not is_ours:
            return failures
        store.prune([channel.label for channel in channels], now=clock())
        ends = time.monotonic() + budget_seconds
        for channel in channels:
            while time.monotonic() < ends and (waiting := store.due(channel.label, now=clock())) is not None:
                try:
                    channel.send(waiting.message)
                except DeliveryError as error:
                    failures.append(f"{channel.label} {error}")
                    if not _failed(store, channel, waiting.message, error, attempts=waiting.attempts + 1, now=clock()):
                        break
                else:
                    store.delivered(waiting.message.id, channel.label, now=clock())
    return failures


def pause_seconds(attempts: int) -> float:
    """Return how long to wait after so many attempts in vain."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 20), LONGEST_PAUSE_SECONDS)


def _failed(
    store: AlertStore, channel: Channel, message: Message, error: DeliveryError, *, attempts: int, now: datetime
) -> bool:
    """Note a failure; return whether the message was given up, so that the next one may be tried."""
    if error.is_refusal and attempts >= MOST_REFUSALS:
        store.give_up(message.id, channel.label, str(error), now=now)
        return True
    pause = max(pause_seconds(attempts), error.retry_after_seconds or 0)
    store.failed(message.id, channel.label, str(error), next_attempt=now + timedelta(seconds=pause))
    return False
