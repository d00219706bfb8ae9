"""Alerts by mail: to servers with and without TLS, that refuse, are silent or never come to an end."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alert_receivers import MailReceiver, certificate, mail_receiver
from alert_steps import QUICK, look, send

from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings, load_settings


def test_a_mail_names_what_to_do_and_keeps_its_id(tmp_path: Path) -> None:
    with mail_receiver() as receiver:
        settings = load_settings(
            _env_file=None, state_dir=tmp_path / ".rtap", alert_mail_to=["a@example.com", "B <b@example.com>"],
            alert_smtp_host="127.0.0.1", alert_smtp_port=receiver.port, alert_smtp_security="none", **QUICK,
        )  # fmt: skip
        look(settings, 0, "/a")
        receiver.refuses = 451
        assert send(settings, 0) == [
            "mail to a@example.com the server refused the recipient (451)",
            "mail to B <b@example.com> the server refused the recipient (451)",
        ]
        receiver.refuses = 0
        assert send(settings, 10) == []
    assert receiver.recipients == ["a@example.com", "b@example.com"] * 2
    assert len(receiver.got) == 2
    assert "Subject: rtap: Disk /a" in receiver.got[0]
    assert "docs/operations.md#the-local-stack-disk-java" in receiver.got[0].replace("=\r\n", "")
    assert len({line for mail in receiver.got for line in mail.splitlines() if line.startswith("Message-ID")}) == 1


@pytest.mark.parametrize(
    "security, code, failure",
    [
        ("none", 530, "answered 530, which means: encryption or a login first (RTAP_ALERT_SMTP_SECURITY,"),
        ("none", 538, "answered 538, which means: encryption first (RTAP_ALERT_SMTP_SECURITY)"),
        ("none", 421, "the server answered 421"),
        ("starttls", 0, "does not offer what is asked of it (RTAP_ALERT_SMTP_SECURITY=starttls"),
        ("tls", 0, "could not be delivered (SSLError, RTAP_ALERT_SMTP_SECURITY=tls)"),
    ],
)
def test_a_mail_server_that_wants_another_connection_is_named_with_the_setting(
    tmp_path: Path, security: str, code: int, failure: str
) -> None:
    with mail_receiver() as receiver:
        receiver.refuses_senders = code
        settings = load_settings(
            _env_file=None, state_dir=tmp_path / ".rtap", alert_mail_to=["a@example.com"], alert_smtp_host="127.0.0.1",
            alert_smtp_port=receiver.port, alert_smtp_security=security, **QUICK,
        )  # fmt: skip
        look(settings, 0, "/a")
        assert failure in send(settings, 0)[0]
        assert receiver.got == []
    assert AlertStore(settings).standings()[0].waiting == 1


def test_a_silent_mail_server_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with mail_receiver() as receiver:
        receiver.is_silent = True
        settings = load_settings(
            _env_file=None, state_dir=tmp_path / ".rtap", alert_mail_to=["a@example.com"], alert_smtp_host="127.0.0.1",
            alert_smtp_port=receiver.port, alert_smtp_security="none", alert_timeout_seconds=0.5, **QUICK,
        )  # fmt: skip
        look(settings, 0, "/a")
        assert send(settings, 0) == ["mail to a@example.com no answer within 0.5 s"]


@contextmanager
def encrypted(tmp_path: Path, security: str) -> Iterator[tuple[MailReceiver, Settings, Path]]:
    """A mail server with TLS, settings for it, and the certificate that a client must trust."""
    trusted = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    with mail_receiver(context=context, offers_tls=security == "starttls") as receiver:
        yield receiver, load_settings(
            _env_file=None, state_dir=tmp_path / ".rtap", alert_mail_to=["a@example.com"], alert_smtp_host="127.0.0.1",
            alert_smtp_port=receiver.port, alert_smtp_security=security, alert_smtp_username="rtap",
            alert_smtp_password="s3cret", **QUICK,
        ), trusted  # fmt: skip


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_over_an_encrypted_connection_to_a_server_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    with encrypted(tmp_path, security) as (receiver, settings, trusted):
        look(settings, 0, "/a")
        (failure,) = send(settings, 0)
        assert "the server's certificate is not accepted (self-signed certificate; RTAP_ALERT_SMTP_HOST" in failure
        assert receiver.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert send(settings, 10) == []
        assert (receiver.logins, receiver.recipients) == (["\0rtap\0s3cret"], ["a@example.com"])


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_that_sends_byte_by_byte_is_given_up_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    with encrypted(tmp_path, security) as (receiver, settings, trusted):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        receiver.drips = True
        look(settings, 0, "/a")
        assert send(settings.model_copy(update={"alert_timeout_seconds": 1.0}), 0) == [
            "mail to a@example.com no answer within 1 s"
        ]
