"""Receivers of alerts on this machine: a web server and a mail server that note what they get, and fail when asked to."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass
class WebReceiver:
    """A web server. `answers` are the status codes of the next requests, then 200; `drips`: bytes without end."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    drips: bool = False
    got: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cret-part"

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.got]


@contextmanager
def web_receiver(*, port: int = 0) -> Iterator[WebReceiver]:
    """A web receiver that runs for the time of the block."""
    receiver = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.got.append((dict(self.headers), body))
            if receiver.drips:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not receiver.released.wait(0.05):
                    self.wfile.write(b"X")
                return
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _running(ThreadingHTTPServer(("127.0.0.1", port), Handler), receiver.released) as bound:
        receiver.port = bound
        yield receiver


def certificate(folder: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*form) + built.public_bytes(Encoding.PEM))
    return path


@dataclass
class MailReceiver:
    """A mail server. `context` has its certificate: TLS from the first byte, or by STARTTLS where it `offers_tls`.

    `refuses`: the code with which it answers each recipient, `refuses_senders` each sender; `is_silent`: it never answers;
    `drips`: it answers a sender with bytes without end.
    """

    port: int = 0
    context: ssl.SSLContext | None = None
    offers_tls: bool = False
    drips: bool = False
    logins: list[str] = field(default_factory=list)
    refuses: int = 0
    refuses_senders: int = 0
    is_silent: bool = False
    got: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def mail_receiver(*, context: ssl.SSLContext | None = None, offers_tls: bool = False) -> Iterator[MailReceiver]:
    """A mail receiver that runs for the time of the block."""
    receiver = MailReceiver(context=context, offers_tls=offers_tls)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if receiver.is_silent:
                receiver.released.wait()
                return
            with suppress(OSError):  # the client cuts the connection, or does not accept the certificate
                if receiver.context and not receiver.offers_tls:
                    self._encrypt(receiver.context)
                self._say("220 test")
                self._answer()
            if isinstance(self.connection, ssl.SSLSocket):  # of the other socket the server takes care
                self.connection.close()

        def _answer(self) -> None:
            while line := self.rfile.readline():
                word = line.decode().strip()
                command = word[:4].upper()
                if command == "EHLO":
                    self._say("250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN" if receiver.context else "250 ok")
                elif command == "STAR" and receiver.context:
                    self._say("220 go on")
                    self._encrypt(receiver.context)
                elif command == "AUTH":
                    receiver.logins.append(base64.b64decode(word.rpartition(" ")[2]).decode())
                    self._say("235 ok" if isinstance(self.connection, ssl.SSLSocket) else "538 encryption first")
                elif command == "MAIL" and receiver.drips:
                    while not receiver.released.wait(0.05):
                        self.wfile.write(b"2")
                elif command == "MAIL" and receiver.refuses_senders:
                    self._say(f"{receiver.refuses_senders} no")
                elif command == "RCPT":
                    receiver.recipients.append(word.partition("<")[2].rstrip(">"))
                    self._say(f"{receiver.refuses} no" if receiver.refuses else "250 ok")
                elif command == "DATA":
                    self._say("354 go on")
                    receiver.got.append(self._mail())
                    self._say("250 ok")
                else:
                    self._say("221 bye" if command == "QUIT" else "250 ok")
                    if command == "QUIT":
                        return

        def _encrypt(self, context: ssl.SSLContext) -> None:
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

        def _mail(self) -> str:
            lines = []
            while (line := self.rfile.readline()).strip() != b".":
                lines.append(line.decode())
            return "".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler), receiver.released) as bound:
        receiver.port = bound
        yield receiver


@contextmanager
def _running(server: socketserver.TCPServer, released: threading.Event) -> Iterator[int]:
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[misc]
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()
