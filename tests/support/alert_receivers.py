"""Receivers of alerts on this machine: a web server and a mail server that note what they get, and fail when asked to."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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


@dataclass
class MailReceiver:
    """A mail server without TLS. `refuses`: the code with which it answers each recipient, `refuses_senders` each sender;
    `is_silent`: it never answers."""

    port: int = 0
    refuses: int = 0
    refuses_senders: int = 0
    is_silent: bool = False
    got: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """A mail receiver that runs for the time of the block."""
    receiver = MailReceiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if receiver.is_silent:
                receiver.released.wait()
                return
            self._say("220 test")
            while line := self.rfile.readline():
                word = line.decode().strip()
                command = word[:4].upper()
                if command == "MAIL" and receiver.refuses_senders:
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
