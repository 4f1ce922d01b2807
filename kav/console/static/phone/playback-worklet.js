// The earpiece, in the audio thread: plays what it is given at the speed of speech, and says which marks were passed.

import { RATE } from "./mulaw.js";
import { Playout } from "./playout.js";
import { Resampler } from "./resampler.js";

const TELL_EVERY_S = 0.1;
const AUDIBLE = 0.003; // -50 dB: what is softer is silence

class Playback extends AudioWorkletProcessor {
  #playout = new Playout(RATE);
  #resampler = new Resampler(RATE, sampleRate);
  #made = new Float32Array(0);
  #told = 0;
  #peak = 0;
  #audible = 0;
  #last = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#take(data);
  }

  #take(message) {
    if (message.samples) this.#playout.push(message.samples);
    else if (message.mark !== undefined) this.#echo(this.#playout.mark(message.mark));
    else if (message.clear) this.#clear();
  }

  #clear() {
    const waited = this.#playout.waiting / RATE;
    const names = this.#playout.clear();
    this.#made = new Float32Array(0);
    this.#resampler = new Resampler(RATE, sampleRate); // and not the last two milliseconds either
    this.port.postMessage({ cleared: { waited, at: currentTime } });
    this.#echo(names);
  }

  #echo(names) {
    if (names.length > 0) this.port.postMessage({ marks: names });
  }

  process(_inputs, outputs) {
    const out = outputs[0][0];
    while (this.#made.length < out.length) this.#make(out.length - this.#made.length);
    out.set(this.#made.subarray(0, out.length));
    this.#made = this.#made.slice(out.length);
    this.#listen(out);
    return true;
  }

  #make(length) {
    const block = new Float32Array(Math.max(1, Math.ceil((length * RATE) / sampleRate)));
    this.#echo(this.#playout.pull(block));
    const more = this.#resampler.process(block);
    const joined = new Float32Array(this.#made.length + more.length);
    joined.set(this.#made);
    joined.set(more, this.#made.length);
    this.#made = joined;
  }

  #listen(out) {
    for (const sample of out) {
      const loud = Math.abs(sample);
      if (loud > this.#peak) this.#peak = loud;
      if (loud <= AUDIBLE) continue;
      this.#audible += 1;
      this.#last = currentTime;
    }
    if (currentTime - this.#told < TELL_EVERY_S) return;
    this.#told = currentTime;
    const waiting = this.#playout.waiting / RATE;
    const audible = this.#audible / sampleRate;
    this.port.postMessage({ peak: this.#peak, waiting, audible, last: this.#last, at: currentTime });
    this.#peak = 0;
  }
}

registerProcessor("kav-playback", Playback);
