// The stream of events from the server: read with fetch, so that a token can be shown and a resume asked for by hand.
const SILENCE_MS = 15000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5000;
const WAKE_MS = 1000;

export class Connection {
  constructor({ token, onEvent, onState }) {
    Object.assign(this, { token, onEvent, onState, path: "", lastId: "", heardAt: 0, controller: null, pause: FIRST_PAUSE_MS, turn: 0, isResting: false, isSilent: false });
    setInterval(() => this.notice(), 3000);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()));
    window.addEventListener("online", () => this.notice());
  }

  // Another view begins with everything; the same one goes on where it stood.
  open(path) {
    if (path !== this.path) this.lastId = "";
    this.path = path;
    this.pause = FIRST_PAUSE_MS;
    this.again();
  }

  again() {
    this.rest();
    this.isResting = document.hidden;
    if (!this.isResting) this.run(this.turn);
  }

  // A browser has six connections for one host: a hidden tab leaves its own to others, which would wait for one for ever.
  rest() {
    this.turn += 1;
    this.controller?.abort();
    this.isResting = true;
  }

  // What was missed comes at once; if it does not, what is shown is old.
  wake() {
    if (!this.isResting || !this.path) return;
    this.again();
    const { turn } = this;
    setTimeout(() => turn === this.turn && this.isSilent && this.onState("lost"), WAKE_MS);
  }

  // A machine that slept comes back to a connection that looks open and says nothing.
  notice() {
    if (!this.isResting && this.path && this.heardAt && Date.now() - this.heardAt > SILENCE_MS) {
      this.heardAt = Date.now();
      this.onState("lost");
      this.again();
    }
  }

  async run(turn) {
    const mine = () => turn === this.turn;
    while (mine()) {
      this.controller = new AbortController();
      this.isSilent = true;
      this.heardAt = Date.now();
      try {
        const headers = { Accept: "text/event-stream", ...this.token() };
        if (this.lastId) headers["Last-Event-ID"] = this.lastId;
        const response = await fetch(this.path, { headers, signal: this.controller.signal, cache: "no-store" });
        if (mine()) this.isSilent = false;
        if (response.status === 401) {
          if (mine()) this.onState("signed-out");
          return;
        }
        if (!response.ok) throw new Error(`HTTP ${response.status}`);
        await this.read(response.body.getReader(), mine);
      } catch {
        // Below: the state says so, and the next turn tries again.
      }
      if (!mine()) return;
      this.onState("lost");
      await new Promise((resolve) => setTimeout(resolve, this.pause));
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    }
  }

  async read(reader, mine) {
    const decoder = new TextDecoder();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !mine()) return;
      this.heardAt = Date.now();
      this.pause = FIRST_PAUSE_MS;
      held += decoder.decode(value, { stream: true });
      const parts = held.split("\n\n");
      held = parts.pop();
      for (const part of parts) this.take(part);
    }
  }

  take(part) {
    let name = "message", id = "", data = "";
    for (const line of part.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
    this.onEvent(name, JSON.parse(data));
    if (id) this.lastId = id;
  }
}
