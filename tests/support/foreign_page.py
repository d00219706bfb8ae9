"""A web page of another site, and everything that it can try on Dagster's UI from the visitor's browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

from dagster_runs import LAUNCH
from playwright.sync_api import Browser

# Each line is one attempt; it resolves however it ends, since a page may not read most of the answers.
ATTEMPTS = """
async ([target, mutation, variables]) => {
  const address = `${target}/graphql?query=${encodeURIComponent(mutation)}&variables=${encodeURIComponent(variables)}`;
  const body = JSON.stringify({query: mutation, variables: JSON.parse(variables)});
  const tried = [];
  const attempt = async (name, work) => {
    try { tried.push(`${name}: ${await work()}`) } catch (error) { tried.push(`${name}: refused`) }
  };
  const answered = async (answer) => (await answer).type;
  await attempt('get', () => answered(fetch(address, {mode: 'no-cors'})));
  await attempt('get read', () => answered(fetch(address)));
  await attempt('post query', () => answered(fetch(address, {method: 'POST', mode: 'no-cors'})));
  for (const type of ['text/plain', 'text/plain; application/json', 'application/x-www-form-urlencoded'])
    await attempt(type, () => answered(
      fetch(`${target}/graphql`, {method: 'POST', mode: 'no-cors', body, headers: {'Content-Type': type}})));
  await attempt('json', () => answered(
    fetch(`${target}/graphql`, {method: 'POST', body, headers: {'Content-Type': 'application/json'}})));
  await attempt('beacon', () => navigator.sendBeacon(address, new Blob([body], {type: 'text/plain'})));
  await attempt('image', () => new Promise((done) => {
    const image = new Image(); image.onload = image.onerror = () => done('ended'); image.src = address;
  }));
  for (const method of ['GET', 'POST']) await attempt(`form ${method}`, () => new Promise((done) => {
    const frame = document.body.appendChild(document.createElement('iframe'));
    frame.name = `frame${method}`;
    const form = document.body.appendChild(document.createElement('form'));
    Object.assign(form, {action: address, method, target: frame.name});
    for (const [name, value] of [['query', mutation], ['variables', variables]]) {
      const field = form.appendChild(document.createElement('input')); field.name = name; field.value = value;
    }
    frame.onload = () => done('ended'); form.submit(); setTimeout(() => done('ended'), 2000);
  }));
  await attempt('socket', () => new Promise((done) => {
    const socket = new WebSocket(`${target.replace('http', 'ws')}/graphql`, 'graphql-ws');
    socket.onopen = () => {
      socket.send(JSON.stringify({type: 'connection_init'}));
      socket.send(JSON.stringify({type: 'start', id: '1', payload: JSON.parse(body)}));
      setTimeout(() => done('open'), 2000);
    };
    socket.onerror = () => done('refused');
  }));
  return tried;
}
"""
TITLE = "another site"


def try_everything(browser: Browser, *, job: str, port: int) -> list[str]:
    """Open a foreign page that tries to launch a job in every way it can; returns what it saw of each attempt."""
    variables = json.dumps({"job": job, "config": {}})
    tried = []
    with foreign_site() as site:
        context = browser.new_context()
        page = context.new_page()
        for name in ("127.0.0.1", "localhost"):  # from another port of the same name, and from another name
            page.goto(f"http://{name}:{site}/")
            assert page.title() == TITLE
            tried += page.evaluate(ATTEMPTS, [f"http://127.0.0.1:{port}", LAUNCH, variables])
        # A link, and a name that was bound to this machine: pages of the UI, in the foreign page's own window.
        page.goto(f"http://localhost:{site}/")
        address = f"http://127.0.0.1:{port}/graphql?query={quote(LAUNCH)}&variables={quote(variables)}"
        page.evaluate("address => { window.location = address }", address)
        page.wait_for_url(f"http://127.0.0.1:{port}/**")
        tried.append(f"link: {page.inner_text('body')}")
        answer = page.goto(f"http://rebound.localhost:{port}/")
        tried.append(f"rebound: {answer.status if answer else 0}")
        context.close()
    return tried


@contextmanager
def foreign_site() -> Iterator[int]:
    """Another site on this machine; yields its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html><title>{TITLE}</title><body></body>".encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
