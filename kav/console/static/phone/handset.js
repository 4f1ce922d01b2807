// Mouthpiece and earpiece: the browser's audio, joined to a line by `on`.

import { decode } from "./mulaw.js";

const VOICE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

/** The microphone, or null where there is none or it may not be used. */
export async function microphone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: VOICE });
  } catch {
    return null;
  }
}

/**
 * Opens the audio. `on` has `frame(bytes)`, `marks(names)`, `cleared({waited, at})` and `level(...)`. Where it cannot be
 * opened, `stream` is stopped: a microphone that nobody listens to is off, and its light too.
 */
export async function openHandset(stream, on) {
  let context = null;
  try {
    context = new AudioContext({ latencyHint: "interactive" });
    const modules = ["capture-worklet.js", "playback-worklet.js"].map((name) => new URL(name, import.meta.url));
    await Promise.all(modules.map((url) => context.audioWorklet.addModule(url)));
    await context.resume();
    return new Handset(context, stream, on);
  } catch (error) {
    await letGo(context, stream);
    throw error;
  }
}

async function letGo(context, stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
  if (context && context.state !== "closed") await context.close();
}

class Handset {
  #context;
  #stream;
  #capture;
  #playback;

  constructor(context, stream, on) {
    this.#context = context;
    this.#stream = stream;
    const mono = { channelCount: 1, channelCountMode: "explicit", outputChannelCount: [1] };
    this.#capture = new AudioWorkletNode(context, "kav-capture", { ...mono, numberOfInputs: 1 });
    this.#playback = new AudioWorkletNode(context, "kav-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#capture.port.onmessage = ({ data }) => on.frame(data);
    this.#playback.port.onmessage = ({ data }) => {
      if (data.marks) on.marks(data.marks);
      else if (data.cleared) on.cleared(data.cleared);
      else on.level(data);
    };
    if (stream) context.createMediaStreamSource(stream).connect(this.#capture);
    this.#capture.connect(context.destination); // it gives silence, and runs only while somebody listens
    this.#playback.connect(context.destination);
  }

  play(bytes) {
    const samples = decode(bytes);
    this.#playback.port.postMessage({ samples }, [samples.buffer]);
  }

  mark(name) {
    this.#playback.port.postMessage({ mark: name });
  }

  clear() {
    this.#playback.port.postMessage({ clear: true });
  }

  mute(muted) {
    this.#capture.port.postMessage({ muted });
  }

  close() {
    return letGo(this.#context, this.#stream);
  }
}
