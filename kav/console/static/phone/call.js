// One call: places it, joins the handset to the line, looks how it goes. Knows nothing of the page but `show`.

import { microphone, openHandset } from "./handset.js";
import { Line } from "./line.js";

const LOOK_EVERY_MS = 400;
const LOOKS_AFTER_THE_END = 10; // the reason of an end may come a moment after the socket's close

/** A call that could not be placed; the message is the server's own, for whoever reads the page. */
export class NotPlaced extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** A call. `show` has `talk(state)`, `level(level)`, `silent()` and `over(state)`. */
export class Call {
  #show;
  #handset;
  #line;
  #ticket;
  #looking;
  #looks = 0;
  #closed = false;
  #over = false;
  /** What was played, cleared and echoed: figures for whoever wonders whether it works. */
  figures = { frames: 0, asked: [], echoed: [], cleared: [], level: { peak: 0, waiting: 0, audible: 0, last: 0 } };

  constructor(show) {
    this.#show = show;
  }

  /** Place the call that `form` describes. Raises NotPlaced. */
  async place(form, withMicrophone) {
    const stream = withMicrophone ? await microphone() : null;
    this.#handset = await openHandset(stream, {
      frame: (bytes) => this.#frame(bytes),
      marks: (names) => this.#echo(names),
      cleared: (cut) => this.figures.cleared.push(cut),
      level: (level) => this.#level(level),
    });
    if (stream === null) this.#show.silent(withMicrophone);
    try {
      this.#ticket = await ticketFor(form);
    } catch (error) {
      await this.#handset.close();
      throw error;
    }
    const url = new URL(this.#ticket.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#line = new Line(new WebSocket(url), this.#ticket, {
      audio: (bytes) => this.#handset.play(bytes),
      mark: (name) => this.#mark(name),
      clear: () => this.#handset.clear(),
      closed: () => this.#disconnected(),
    });
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  type(text) {
    this.#line?.text(text);
  }

  press(key) {
    this.#line?.key(key);
  }

  mute(muted) {
    this.#handset.mute(muted);
  }

  hangUp() {
    this.#line?.hangUp();
  }

  #frame(bytes) {
    this.figures.frames += 1;
    this.#line?.frame(bytes);
  }

  #mark(name) {
    this.figures.asked.push(name);
    this.#handset.mark(name);
  }

  #echo(names) {
    this.figures.echoed.push(...names);
    for (const name of names) this.#line?.mark(name);
  }

  #level(level) {
    this.figures.level = level;
    this.#show.level(level);
  }

  #disconnected() {
    this.#closed = true;
    this.#handset.close();
    this.#look();
  }

  async #look() {
    if (this.#over) return;
    const state = await stateAt(this.#ticket.state);
    if (this.#over) return;
    if (state) this.#show.talk(state);
    if (this.#closed) this.#looks += 1;
    if (state?.ended || this.#looks > LOOKS_AFTER_THE_END) this.#finish(state);
  }

  #finish(state) {
    this.#over = true;
    clearInterval(this.#looking);
    if (!this.#closed) this.hangUp();
    this.#show.over(state?.ended ? state : null);
  }
}

async function ticketFor(form) {
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  const json = (answer.headers.get("Content-Type") ?? "").includes("json");
  const told = json ? await answer.json() : {};
  if (answer.status !== 201) throw new NotPlaced(told.error ?? "", answer.status);
  return told;
}

async function stateAt(url) {
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // the network fails for a moment; the next look may not
  }
}
