"""An alert from its look to a receiver: delivered once and in order, over failures, kills, and settings that change."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from alert_receivers import WebReceiver, web_receiver
from alert_steps import NOW, QUICK, at, look, send

from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.delivery import Channel, channels_of, deliver, pause_seconds
from rtap_assets.alerts.model import DiskFact, Facts, Message
from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings, load_settings, settings_environment


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, receiver: WebReceiver) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / ".rtap", alert_webhooks=receiver.url, **QUICK)


def summaries(receiver: WebReceiver) -> list[list[str]]:
    return [[f"{one['kind']} {one['subject']}" for one in body["alerts"]] for _, body in receiver.got]


def test_what_is_raised_in_one_look_is_one_message_and_is_sent_once(settings: Settings, receiver: WebReceiver) -> None:
    for seconds in range(0, 300, 30):
        look(settings, seconds, "/a", "/b")
        assert send(settings, seconds) == []
    assert summaries(receiver) == [["raised /a", "raised /b"]]
    look(settings, 300, "/b")
    send(settings, 300)
    assert summaries(receiver)[1:] == [["recovered /a"]]


def test_a_receiver_that_was_away_gets_everything_once_and_in_order(settings: Settings, receiver: WebReceiver) -> None:
    receiver.answers = [500, 503, 502]
    look(settings, 0, "/a")
    assert send(settings, 0) == [f"{channels_of(settings)[0].label} answered 500"]
    look(settings, 1)
    assert send(settings, 1) == [], "not due yet, and the recovery waits behind its alert"
    send(settings, 10)
    send(settings, 31)
    assert len(receiver.got) == 3
    send(settings, 3_600)
    assert summaries(receiver)[3:] == [["raised /a"], ["recovered /a"]]
    assert len(set(receiver.keys[:4])) == 1
    assert receiver.keys[4] != receiver.keys[0]
    assert AlertStore(settings).standings()[0].waiting == 0


def test_a_message_that_is_killed_between_its_delivery_and_the_note_of_it_comes_again_under_the_same_key(
    settings: Settings, receiver: WebReceiver
) -> None:
    look(settings, 0, "/a")
    script = (
        "import os, signal\n"
        "from datetime import UTC, datetime\n"
        "from dataclasses import replace\n"
        "from rtap_assets.alerts.delivery import channels_of, deliver\n"
        "from rtap_assets.alerts.store import AlertStore\n"
        "from rtap_assets.config import load_settings\n"
        "settings = load_settings(_env_file=None)\n"
        "(channel,) = channels_of(settings)\n"
        "def send_and_die(message):\n"
        "    channel.send(message)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "deliver(AlertStore(settings), [replace(channel, send=send_and_die)], "
        "clock=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | settings_environment(settings), check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(receiver.got) == 1
    send(settings, 1)
    send(settings, 2)
    assert len(receiver.got) == 2
    assert len(set(receiver.keys)) == 1


def test_a_slow_receiver_is_given_up_at_the_deadline(settings: Settings, receiver: WebReceiver) -> None:
    receiver.drips = True
    quick = settings.model_copy(update={"alert_timeout_seconds": 0.5})
    look(quick, 0, "/a")
    (failure,) = send(quick, 0)
    assert failure.endswith("no answer within 0.5 s")


def test_a_redirect_is_not_followed(settings: Settings, receiver: WebReceiver) -> None:
    receiver.answers, receiver.headers = [302], {"Location": receiver.url}
    look(settings, 0, "/a")
    (failure,) = send(settings, 0)
    assert failure.endswith("answered 302, a redirect, which is not followed: configure the final address")
    assert len(receiver.got) == 1


@pytest.mark.parametrize("as_time", [False, True])
def test_a_receiver_may_say_how_long_to_wait(settings: Settings, receiver: WebReceiver, as_time: bool) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    receiver.answers, receiver.headers = [429], {"Retry-After": until if as_time else "300"}
    look(settings, 0, "/a")
    send(settings, 0)
    send(settings, 290)
    assert len(receiver.got) == 1
    send(settings, 301)
    assert len(receiver.got) == 2


@pytest.mark.parametrize("text", ["", "soon", "-5", "Sat, 99 Xyz 2026 00:00:00 GMT", "1.5", "9" * 400])
def test_a_wait_that_cannot_be_read_or_is_endless_is_bounded(settings: Settings, receiver: WebReceiver, text: str) -> None:
    receiver.answers, receiver.headers = [503], {"Retry-After": text}
    look(settings, 0, "/a")
    send(settings, 0)
    send(settings, 3_600)
    assert len(receiver.got) == 2


def test_a_message_that_is_refused_for_good_does_not_hold_the_next_back(settings: Settings, receiver: WebReceiver) -> None:
    receiver.answers = [400] * 5
    look(settings, 0, "/a")
    for hour in range(5):
        send(settings, hour * 3_600)
    look(settings, 20_000, "/a", "/b")
    send(settings, 20_000)
    assert summaries(receiver)[-1] == ["raised /b"]
    assert receiver.got[-1][1]["dropped_messages"] == 1
    assert "1 earlier messages could not be delivered" in receiver.got[-1][1]["text"]
    assert AlertStore(settings).standings()[0].given_up == 1


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    assert [pause_seconds(attempts) for attempts in (1, 2, 3, 7, 8, 1_000)] == [10, 20, 40, 640, 900, 900]


def test_a_receiver_that_stays_away_costs_bounded_room(tmp_path: Path) -> None:
    def away(_: Message) -> None:
        raise DeliveryError("is away")

    settings = load_settings(_env_file=None, state_dir=tmp_path / ".rtap", **QUICK)
    store, channel = AlertStore(settings, most_waiting=10), Channel("c", away)
    for number in range(15):
        store.look(Facts(at(number), disks=[DiskFact(f"/{number}", 1, 1_000)]), channels=["c"])
    deliver(store, [channel], clock=lambda: at(15))
    (standing,) = store.standings()
    assert (standing.waiting, standing.given_up) == (10, 5)
    later = NOW + timedelta(days=settings.alert_retention_days + 1)
    deliver(store, [channel], clock=lambda: later)
    assert store.standings()[0].waiting == 0
    deliver(store, [channel], clock=lambda: later + timedelta(days=settings.alert_retention_days))
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM deliveries)").fetchone() == (
            0,
            0,
        )


def test_a_failing_channel_does_not_hold_back_another(tmp_path: Path, receiver: WebReceiver) -> None:
    settings = load_settings(
        _env_file=None, state_dir=tmp_path / ".rtap", alert_webhooks=f"http://127.0.0.1:9/x {receiver.url}", **QUICK
    )
    look(settings, 0, "/a")
    assert len(send(settings, 0)) == 1
    assert summaries(receiver) == [["raised /a"]]


def test_a_channel_that_was_removed_leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    look(settings, 0, "/a")
    deliver(AlertStore(settings), [], clock=lambda: at(1))
    assert AlertStore(settings).standings() == []


def test_without_a_channel_alerts_are_tracked_and_nothing_waits(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path / ".rtap", **QUICK)
    look(settings, 0, "/a")
    assert [one.key for one in AlertStore(settings).open_alerts()] == ["disk//a"]
    assert AlertStore(settings).pending_events() == 0


def test_warnings_of_quiet_hours_come_after_them_in_one_message(tmp_path: Path, receiver: WebReceiver) -> None:
    settings = load_settings(
        _env_file=None, state_dir=tmp_path / ".rtap", alert_webhooks=receiver.url, alert_quiet_hours="11:00-13:00", **QUICK
    )
    labels = [channel.label for channel in channels_of(settings)]
    for seconds, free in ((0, 40), (60, 40), (120, 100), (3_601, 100)):
        AlertStore(settings).look(Facts(at(seconds), disks=[DiskFact("/a", free, 1_000)]), channels=labels)
        send(settings, seconds)
    assert summaries(receiver) == [["raised /a", "recovered /a"]] or summaries(receiver) == [["recovered /a", "raised /a"]]


@pytest.mark.parametrize("form", ["slack", "teams"])
def test_slack_and_teams_get_their_own_form_and_no_markup_of_producers(
    tmp_path: Path, receiver: WebReceiver, form: str
) -> None:
    settings = load_settings(
        _env_file=None, state_dir=tmp_path / ".rtap", alert_webhooks=f"{form}:{receiver.url}",
        page_url="https://revenue.example.com/", **QUICK,
    )  # fmt: skip
    look(settings, 0, "<!channel> [x](https://evil.example.com) \x1b[31m")
    send(settings, 0)
    ((_, body),) = receiver.got
    text = json.dumps(body)
    assert "\\u001b" not in text
    if form == "slack":
        assert body["text"].startswith("rtap: Disk &lt;!channel&gt;")
        assert "<!channel>" not in body["blocks"][1]["text"]["text"]
    else:
        card = body["attachments"][0]["content"]
        assert card["actions"][0]["url"] == "https://revenue.example.com/"
        assert "\\[x\\]" in card["body"][1]["text"]


@pytest.mark.parametrize(
    "command, failure",
    [
        (["/bin/false"], "ended with exit code 1"),
        (["/no/such"], "could not be started"),
        (["/bin/sleep", "60"], "did not end within"),
    ],
)
def test_a_command_that_fails_is_tried_again(tmp_path: Path, command: list[str], failure: str) -> None:
    settings = load_settings(
        _env_file=None, state_dir=tmp_path / ".rtap", alert_command=command, alert_timeout_seconds=0.5, **QUICK
    )
    look(settings, 0, "/a")
    assert failure in send(settings, 0)[0]
    assert AlertStore(settings).standings()[0].waiting == 1


def test_a_command_gets_the_message_and_none_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTAP_KAFKA_PASSWORD", "s3cret-part")
    script = f"cat > {tmp_path}/message; env > {tmp_path}/environment"
    settings = load_settings(_env_file=None, state_dir=tmp_path / ".rtap", alert_command=["/bin/sh", "-c", script], **QUICK)
    look(settings, 0, "/a")
    assert send(settings, 0) == []
    message = json.loads((tmp_path / "message").read_text(encoding="utf-8"))
    environment = (tmp_path / "environment").read_text(encoding="utf-8")
    assert message["title"] == "Disk /a"
    assert f"RTAP_ALERT_KEY={message['id']}" in environment
    assert "s3cret" not in environment


def test_no_failure_file_or_log_holds_the_address_of_a_webhook(
    tmp_path: Path, receiver: WebReceiver, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [500]
    look(settings, 0, "/a")
    failures = send(settings, 0)
    gone = settings.model_copy(
        update={
            "alert_webhooks": load_settings(_env_file=None, alert_webhooks="http://127.0.0.1:9/s3cret-part").alert_webhooks
        }
    )
    look(gone, 1, "/a", "/b")
    failures += send(gone, 1)
    assert len(failures) == 2
    written = b"".join(path.read_bytes() for path in settings.alerts_dir.rglob("*") if path.is_file())
    assert "s3cret" not in "".join(failures) + caplog.text + repr(settings) + repr(channels_of(settings))
    assert b"s3cret" not in written


def test_one_process_delivers_at_a_time(settings: Settings, receiver: WebReceiver) -> None:
    look(settings, 0, "/a")
    (channel,) = channels_of(settings)
    inner: list[list[str]] = []

    def sending(message: Message) -> None:
        inner.append(deliver(AlertStore(settings), [channel], clock=lambda: at(0)))
        channel.send(message)

    deliver(AlertStore(settings), [replace(channel, send=sending)], clock=lambda: at(0))
    assert inner == [[]]
    assert len(receiver.got) == 1


def test_a_tick_ends_within_its_budget(settings: Settings) -> None:
    calls: list[str] = []
    slow: Callable[[Message], None] = lambda message: calls.append(message.id)  # noqa: E731
    for number in range(3):
        look(settings, number, *(f"/{one}" for one in range(number + 1)))
    (channel,) = channels_of(settings)
    deliver(AlertStore(settings), [replace(channel, send=slow)], clock=lambda: at(5), budget_seconds=0)
    assert calls == []
    deliver(AlertStore(settings), [replace(channel, send=slow)], clock=lambda: at(5))
    assert len(calls) == 3
