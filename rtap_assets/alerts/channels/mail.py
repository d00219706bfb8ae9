"""Mail over SMTP. User and password come from the settings and are in no message or log."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from threading import Timer
from typing import Self

from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.composing import lines
from rtap_assets.alerts.model import Message
from rtap_assets.config import Settings

PERMANENT = range(550, 560)
# Source: RFC 3207, section 4; RFC 4954, section 6.
WANTED = {
    530: ", which means: encryption or a login first (RTAP_ALERT_SMTP_SECURITY, RTAP_ALERT_SMTP_USERNAME)",
    535: ", which means: user or password is wrong (RTAP_ALERT_SMTP_USERNAME, RTAP_ALERT_SMTP_PASSWORD)",
    538: ", which means: encryption first (RTAP_ALERT_SMTP_SECURITY)",
}


class _Deadline:
    """Cuts the connection that it holds once the time is over: smtplib's timeout is of one exchange, not of all of them."""

    def __init__(self, seconds: float) -> None:
        self._held: socket.socket | None = None
        self._is_over = False
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._held is not None:
            self._held.close()

    def hold(self, connection: socket.socket) -> None:
        """Hold the connection, whatever object TLS makes of it later."""
        self._held = socket.fromfd(connection.fileno(), connection.family, connection.type)
        if self._is_over:
            raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        if self._held is not None:
            with suppress(OSError):  # closed at that moment
                self._held.shutdown(socket.SHUT_RDWR)


class _Connection(smtplib.SMTP):
    """A connection to the mail server of the settings, held by the deadline before anything is exchanged."""

    def __init__(self, settings: Settings, deadline: _Deadline, *, seconds: float) -> None:
        self._deadline, self._has_tls = deadline, settings.alert_smtp_security == "tls"
        super().__init__(settings.alert_smtp_host, settings.alert_smtp_port, timeout=seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self._deadline.hold(connection)
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host) if self._has_tls else connection


def send(settings: Settings, recipient: str, message: Message, *, seconds: float) -> None:
    """Deliver a message to one recipient; its Message-ID is the same at each attempt.

    Raises:
        DeliveryError: the server was not reached, was late, or did not take it.
    """
    began = time.monotonic()
    try:
        with _Deadline(seconds) as deadline, _Connection(settings, deadline, seconds=seconds) as server:
            _hand_over(server, settings, recipient, message)
    except (smtplib.SMTPException, OSError) as error:
        # First, whatever a cut connection is called: half a line counts as an answer, a time-out as a server that hung up.
        if time.monotonic() - began >= seconds:
            raise DeliveryError(f"no answer within {seconds:g} s") from None
        raise _failure(settings, error) from None


def _failure(settings: Settings, error: Exception) -> DeliveryError:
    """Return what the error means to an operator; its own text may quote the message or the login."""
    security = f"RTAP_ALERT_SMTP_SECURITY={settings.alert_smtp_security}"
    match error:
        case smtplib.SMTPRecipientsRefused():
            code = next(code for code, _ in error.recipients.values())
            return DeliveryError(f"the server refused the recipient ({code})", is_refusal=code in PERMANENT)
        case smtplib.SMTPResponseException():
            code = error.smtp_code
            return DeliveryError(f"the server answered {code}{WANTED.get(code, '')}", is_refusal=code in PERMANENT)
        case smtplib.SMTPNotSupportedError():
            return DeliveryError(f"the server does not offer what is asked of it ({security}, a login, or UTF-8)")
        case ssl.SSLCertVerificationError():
            which = f"{error.verify_message}; RTAP_ALERT_SMTP_HOST is the name, SSL_CERT_FILE has the authorities"
            return DeliveryError(f"the server's certificate is not accepted ({which})")
        case ssl.SSLError():
            return DeliveryError(f"could not be delivered ({type(error).__name__}, {security})")
    return DeliveryError(f"could not be delivered ({type(error).__name__})")


def mail_of(settings: Settings, recipient: str, message: Message) -> EmailMessage:
    """Return the mail of a message."""
    document = dict(message.document)
    mail = EmailMessage()
    mail["From"] = settings.alert_mail_from
    mail["To"] = recipient
    mail["Subject"] = f"rtap: {document['title']}"
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@rtap>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join([document["title"], "", *lines(document)]) + "\n")
    return mail


def _hand_over(server: smtplib.SMTP, settings: Settings, recipient: str, message: Message) -> None:
    if settings.alert_smtp_security == "starttls":
        server.starttls(context=ssl.create_default_context())
    if settings.alert_smtp_username:
        server.login(settings.alert_smtp_username, settings.alert_smtp_password.get_secret_value())
    mail = mail_of(settings, recipient, message)
    server.send_message(mail, parseaddr(settings.alert_mail_from)[1], [parseaddr(recipient)[1]])
