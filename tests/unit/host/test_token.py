"""The token file and the notes beside locks: complete or absent, for their owner alone, and never about another process."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError, DependencyUnavailable, StreamError
from rtap_assets.host.lock import only_host, running_host
from rtap_assets.host.token import ensure_token, read_token, token_path
from rtap_assets.runtime.locks import OwnerNote


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def test_the_token_is_for_its_owner_alone_and_is_kept(settings: Settings) -> None:
    previous = os.umask(0)
    try:
        token = ensure_token(settings)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(token_path(settings).stat().st_mode) == 0o600
    assert len(token) >= 40
    assert ensure_token(settings) == read_token(settings) == token
    assert [path.name for path in token_path(settings).parent.iterdir()] == ["token"], "nothing is left over"


def test_two_that_make_a_token_at_once_get_the_same(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({token.result() for token in [pool.submit(ensure_token, settings) for _ in range(16)]}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_may_read_is_refused(settings: Settings, mode: int) -> None:
    ensure_token(settings)
    token_path(settings).chmod(mode)
    for use in (ensure_token, read_token):
        with pytest.raises(ConfigurationError, match=f"mode {mode:o}"):
            use(settings)


def test_a_token_that_is_a_link_is_refused(settings: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    elsewhere.chmod(0o600)
    settings.streams_dir.mkdir(parents=True)
    token_path(settings).symlink_to(elsewhere)
    with pytest.raises(ConfigurationError):
        read_token(settings)


def test_no_token_means_that_no_host_was_ever_there(settings: Settings) -> None:
    with pytest.raises(DependencyUnavailable, match="no token of a stream host"):
        read_token(settings)


def test_a_second_host_is_refused_with_the_pid_of_the_first_and_since_when(settings: Settings) -> None:
    with only_host(settings) as note:
        assert running_host(settings) == note
        with (
            pytest.raises(
                StreamError, match=rf"process {os.getpid()} \(stream host, since {note.since:%Y-%m-%d %H:%M:%S}Z\)"
            ),
            only_host(settings),
        ):
            pass
    with only_host(settings):
        pass


def test_a_second_host_waits_for_the_note_of_the_first_and_never_names_a_dead_one(settings: Settings) -> None:
    with only_host(settings) as note:
        path = settings.streams_dir / "host.json"
        replace(note, since=note.since - timedelta(hours=1)).write(path)  # what a host that was killed has left
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(only_host(settings).__enter__)
            assert wait([second], timeout=0.2).done == set()
            note.write(path)
            assert f"process {note.pid} (stream host, since {note.since:%Y-%m-%d %H:%M:%S}Z)" in str(second.exception())
        replace(note, pid=2**22 + 1).write(path)
        with pytest.raises(StreamError, match="a process that just starts"), only_host(settings):
            pass


def test_a_note_is_about_one_process_and_not_about_a_later_one_with_its_pid(tmp_path: Path) -> None:
    note = OwnerNote.of_this_process("test")
    note.write(tmp_path / "note")
    assert OwnerNote.read(tmp_path / "note") == note
    assert note.is_alive
    assert not replace(note, since=note.since - timedelta(hours=1)).is_alive
    assert not replace(note, pid=2**22 + 1).is_alive


@pytest.mark.parametrize("content", ["", "{", "1234\n", "[]", '{"pid": 1}', '{"what": "x", "pid": 1, "since": "y"}'])
def test_half_a_note_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "note").write_text(content)
    assert OwnerNote.read(tmp_path / "note") is None
    assert OwnerNote.read(tmp_path / "absent") is None
