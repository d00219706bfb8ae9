"""Mail over SMTP. User and password come from the settings and are in no message or log."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from threading import Timer

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


def send(settings: Settings, recipient: str, message: Message, *, seconds: float) -> None:
    """Deliver a message to one recipient; its Message-ID is the same at each attempt.

    Raises:
        DeliveryError: the server was not reached, was late, or did not take it.
    """
    began = time.monotonic()
    try:
        with _connected(settings, seconds) as server:
            # The timeout is of one exchange; this one is of all of them.
            watchdog = Timer(seconds, _cut_off, [server.sock])
            watchdog.daemon = True
            watchdog.start()
            try:
                _hand_over(server, settings, recipient, message)
            finally:
                watchdog.cancel()
    except smtplib.SMTPResponseException as error:
        code = error.smtp_code
        raise DeliveryError(f"the server answered {code}{WANTED.get(code, '')}", is_refusal=code in PERMANENT) from None
    except smtplib.SMTPRecipientsRefused as error:
        code = next(code for code, _ in error.recipients.values())
        raise DeliveryError(f"the server refused the recipient ({code})", is_refusal=code in PERMANENT) from None
    except smtplib.SMTPNotSupportedError:
        wanted = f"RTAP_ALERT_SMTP_SECURITY={settings.alert_smtp_security}"
        raise DeliveryError(f"the server does not offer what is asked of it ({wanted}, a login, or UTF-8)") from None
    except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
        # Whatever a cut connection is called: smtplib takes a time-out for a server that hung up.
        if time.monotonic() - began >= seconds:
            raise DeliveryError(f"no answer within {seconds:g} s") from None
        raise DeliveryError(f"could not be delivered ({type(error).__name__})") from None


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


def _connected(settings: Settings, seconds: float) -> smtplib.SMTP:
    host, port = settings.alert_smtp_host, settings.alert_smtp_port
    if settings.alert_smtp_security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=seconds, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=seconds)


def _hand_over(server: smtplib.SMTP, settings: Settings, recipient: str, message: Message) -> None:
    if settings.alert_smtp_security == "starttls":
        server.starttls(context=ssl.create_default_context())
    if settings.alert_smtp_username:
        server.login(settings.alert_smtp_username, settings.alert_smtp_password.get_secret_value())
    mail = mail_of(settings, recipient, message)
    server.send_message(mail, parseaddr(settings.alert_mail_from)[1], [parseaddr(recipient)[1]])


def _cut_off(connection: socket.socket | None) -> None:
    if connection is not None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            connection.close()
