// One call's media socket: speaks as Twilio Media Streams do, and one message besides, for lines that are typed.

import { fromBase64, toBase64 } from "./base64.js";

const FRAME_MS = 20;

/** The caller's end of a stream. `on` has `audio(bytes)`, `mark(name)`, `clear()` and `closed(code)`. */
export class Line {
  #socket;
  #ticket;
  #on;
  #sequence = 0;
  #frames = 0;

  constructor(socket, ticket, on) {
    this.#socket = socket;
    this.#ticket = ticket;
    this.#on = on;
    socket.addEventListener("open", () => this.#begin());
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => on.closed(code));
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** 20 ms of the caller's voice, or of silence. */
  frame(bytes) {
    const timestamp = String(this.#frames * FRAME_MS);
    this.#frames += 1;
    const media = { track: "inbound", chunk: String(this.#frames), timestamp, payload: toBase64(bytes) };
    this.#say({ event: "media", media });
  }

  /** Everything before a mark was played, or cleared. */
  mark(name) {
    this.#say({ event: "mark", mark: { name } });
  }

  /** A key of the telephone. */
  key(digit) {
    this.#say({ event: "dtmf", dtmf: { track: "inbound_track", digit } });
  }

  /** A typed line: no message of Twilio's. */
  text(text) {
    this.#say({ event: "text", text });
  }

  hangUp() {
    this.#say({ event: "stop", stop: { accountSid: "", callSid: this.#ticket.callSid } });
    this.#socket.close(1000);
  }

  #begin() {
    this.#send({ event: "connected", protocol: "Call", version: "1.0.0" });
    const { callSid, streamSid, token, direction } = this.#ticket;
    const mediaFormat = { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 };
    const customParameters = { token, direction };
    this.#say({
      event: "start",
      start: { accountSid: "", streamSid, callSid, tracks: ["inbound"], mediaFormat, customParameters },
    });
  }

  #say(message) {
    this.#sequence += 1;
    this.#send({ ...message, sequenceNumber: String(this.#sequence), streamSid: this.#ticket.streamSid });
  }

  #send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  #take(message) {
    if (message.event === "media") this.#on.audio(fromBase64(message.media.payload));
    else if (message.event === "mark") this.#on.mark(message.mark.name);
    else if (message.event === "clear") this.#on.clear();
  }
}
