"""A command that is followed on several streams: all at once, drains in order, cancelled only where that is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from fake_host import FakeClient

from rtap_assets.errors import StreamError
from rtap_assets.host.following import carry_out
from rtap_assets.streaming.model.operation import Action


def ended(client: Any, action: Action, *names: str, cancels: bool = False) -> list[str]:
    return [one.stream for one in carry_out(client, action, names, echo=lambda stream, text: None, cancels=cancels)]


def test_all_are_asked_before_the_first_is_waited_for_and_drains_follow_one_another() -> None:
    client = FakeClient()
    assert ended(client, Action.START, "bronze", "gold") == ["bronze", "gold"]
    assert client.asked == [("start", "bronze"), ("start", "gold"), ("wait", "bronze"), ("wait", "gold")]
    client = FakeClient()
    assert ended(client, Action.DRAIN, "bronze", "gold") == ["bronze", "gold"]
    assert client.asked == [("drain", "bronze"), ("wait", "bronze"), ("drain", "gold"), ("wait", "gold")]


def test_a_failure_keeps_no_other_stream_from_its_end_and_ends_the_drains() -> None:
    client = FakeClient(failing={"bronze": StreamError("no broker", remedy="Start it.")})
    with pytest.raises(StreamError, match="bronze: no broker") as caught:
        ended(client, Action.STOP, "bronze", "gold")
    assert caught.value.remedy == "Start it."
    assert ("wait", "gold") in client.asked
    client.asked.clear()
    with pytest.raises(StreamError):
        ended(client, Action.DRAIN, "bronze", "gold")
    assert client.asked == [("drain", "bronze"), ("wait", "bronze")]


@pytest.mark.parametrize("cancels", [True, False])
def test_what_has_not_ended_is_cancelled_only_where_that_is_asked_for(cancels: bool) -> None:
    client = FakeClient(interruption=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ended(client, Action.START, "bronze", "gold", cancels=cancels)
    assert [stream for action, stream in client.asked if action == "cancel"] == (["gold", "bronze"] if cancels else [])
