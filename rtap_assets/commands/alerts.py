"""`rtap alerts`: what is open, how the channels stand, and a test of each."""

from __future__ import annotations

import json
import sys
import uuid
from datetime import datetime

import click

from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.composing import runbook_link
from rtap_assets.alerts.delivery import Channel, channels_of
from rtap_assets.alerts.model import Message
from rtap_assets.alerts.rules import RULES
from rtap_assets.alerts.store import AlertStore, ChannelStanding
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.visible import visible
from rtap_assets.runtime.clock import utc_now
from rtap_assets.runtime.terminal import wrapped

LOOKER = "alerts"  # the sensor


@click.group()
def alerts() -> None:
    """Alerts: what is open, and where they go (RTAP_ALERT_…)."""


@alerts.command()
@pass_settings
def test(settings: Settings) -> None:
    """Send a test message through each channel. Exit code 1 when one was not delivered or there is none."""
    channels = channels_of(settings)
    if not channels:
        text = "No channel is configured: set RTAP_ALERT_WEBHOOKS, RTAP_ALERT_MAIL_TO or RTAP_ALERT_COMMAND."
        click.echo("\n".join(wrapped(text, hanging=0)), err=True)
        sys.exit(1)
    message = _test_message(settings)
    results = [_tried(channel, message) for channel in channels]
    sys.exit(0 if all(results) else 1)


@alerts.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per alert.")
@click.option("--rules", is_flag=True, help="The rules, with the settings that bound them.")
@pass_settings
def list_alerts(settings: Settings, as_json: bool, rules: bool) -> None:
    """Show the alerts that are open, the worst first."""
    if rules:
        _print_rules(settings)
        return
    found = AlertStore(settings).open_alerts()
    if as_json:
        rows = [one.to_json() | {"runbook": runbook_link(one.rule, settings)} for one in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for one in found:
        color = "red" if one.severity == "error" else "yellow"
        click.echo(f"{click.style(one.severity.value, fg=color)}  {one.key}  since {_instant(one.since)}")
        click.echo("\n".join(wrapped(f"  {visible(one.summary, limit=500)}", hanging=0)))
        click.echo(f"  -> {runbook_link(one.rule, settings)}")
    looked_at = AlertStore(settings).looked_at(LOOKER)
    if not found:
        click.echo("no alert is open")
    click.echo(
        "The sensor `alerts` has not looked yet: it is part of `rtap up --ui`."
        if looked_at is None
        else f"looked at {_instant(looked_at)}"
    )


@alerts.command()
@pass_settings
def status(settings: Settings) -> None:
    """Show each channel: what waits, what was delivered last, what failed. Exit code 1 when a delivery fails."""
    store, now = AlertStore(settings), utc_now()
    standings = {one.channel: one for one in store.standings()}
    channels, is_failing = channels_of(settings), False
    for channel in channels:
        one = standings.get(channel.label, ChannelStanding(channel.label))
        is_failing |= bool(one.error)
        delivered = (
            "nothing was delivered yet" if one.delivered_at is None else f"delivered last {_instant(one.delivered_at)}"
        )
        click.secho(channel.label, bold=True)
        click.echo(f"  {one.waiting} waiting, {one.given_up} given up, {delivered}")
        if one.error:
            click.secho(f"  {one.error}", fg="red")
    if not channels:
        click.echo(
            "\n".join(
                wrapped("No channel is configured: alerts are listed by `rtap alerts list` and sent nowhere.", hanging=0)
            )
        )
    looked_at = store.looked_at(LOOKER)
    pending = store.pending_events()
    click.echo(f"events that wait for their message (group or quiet hours): {pending}")
    click.echo("never looked" if looked_at is None else f"looked {(now - looked_at).total_seconds():.0f} s ago")
    sys.exit(1 if is_failing else 0)


def _print_rules(settings: Settings) -> None:
    for rule in RULES:
        click.secho(rule.name, bold=True)
        click.echo("\n".join(wrapped(f"  {rule.sentence}", hanging=0)))
        for name in rule.settings:
            click.echo(f"  RTAP_{name.upper()}={getattr(settings, name)}")
        click.echo(f"  -> {runbook_link(rule.name, settings)}")


def _tried(channel: Channel, message: Message) -> bool:
    try:
        channel.send(message)
    except DeliveryError as error:
        click.secho(f"{channel.label}: {error}", fg="red")
        return False
    click.secho(f"{channel.label}: delivered", fg="green")
    return True


def _test_message(settings: Settings) -> Message:
    now, key = utc_now(), str(uuid.uuid4())
    document = {
        "id": key,
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "source": "rtap",
        "title": "test of the alert channels",
        "severity": "warning",
        "page": settings.page_address,
        "alerts": [],
        "more": 0,
        "dropped_messages": 0,
    }
    return Message(key, now, document)


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"
