"""The webhooks of the settings: address and form of the payload. An address is a secret: anyone who has it may post."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FORMS = ("json", "slack", "teams")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Webhook:
    """One webhook. `form` names the shape of the payload; the address is left out of every representation."""

    form: str
    url: str = field(repr=False)

    @property
    def label(self) -> str:
        """Return a name without secrets that stays the same while the address does: form, host and a short digest."""
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:6]
        return f"{self.form} webhook {urlsplit(self.url).hostname} ({digest})"


def parse_webhooks(text: str) -> list[Webhook]:
    """Return the webhooks of a setting.

    Raises:
        ValueError: an entry is none; the message gives its position and not the address.
    """
    return [_parsed(entry, number) for number, entry in enumerate(text.split(), start=1)]


def _parsed(entry: str, number: int) -> Webhook:
    before, _, rest = entry.partition(":")
    form, url = (before.lower(), rest) if before.lower() in FORMS else ("json", entry)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"entry {number} is no address") from error
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable():
        raise ValueError(
            f"entry {number}: write https://…, or slack:https://… or teams:https://…, several with a space between"
        )
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError(f"entry {number}: an address outside this machine must begin with https://, since it is a secret")
    return Webhook(form, url)
