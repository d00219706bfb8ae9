"""Ctrl-C while a command to the streams is followed: the host goes on, and the command says so."""

from __future__ import annotations

import pytest
from fake_host import FakeHost

from rtap_assets.commands.streaming.following import INTERRUPTED, command_streams
from rtap_assets.streaming.model.operation import Action


def test_ctrl_c_says_that_the_start_goes_on(fake_host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command_streams(fake_host.settings, ["bronze"], Action.START, follow=interrupted)
    assert ended.value.code == INTERRUPTED
    assert "The stream host goes on with the start; `rtap streams status` shows it." in capsys.readouterr().err
