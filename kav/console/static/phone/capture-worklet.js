// The mouthpiece, in the audio thread: whatever the microphone gives, as mu-law frames of 20 ms; without one, silence.
// Frames never stop: they are the line's heartbeat, and the model's clock.

import { Framer } from "./framer.js";
import { encode, RATE } from "./mulaw.js";
import { Resampler } from "./resampler.js";

const FRAME_BYTES = 160;

class Capture extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, RATE);
  #framer = new Framer(FRAME_BYTES);
  #muted = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.#muted = data.muted;
    };
  }

  process(inputs, outputs) {
    const heard = inputs[0][0];
    const block = heard && !this.#muted ? heard : new Float32Array(outputs[0][0].length);
    for (const frame of this.#framer.push(encode(this.#resampler.process(block)))) {
      this.port.postMessage(frame, [frame.buffer]);
    }
    return true;
  }
}

registerProcessor("kav-capture", Capture);
