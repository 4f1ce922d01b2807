// From one sample rate to another, a block at a time: a sinc in a Blackman window, so that nothing folds back.

const HALF_WIDTH = 16; // zero crossings on each side, at the lower of the two rates
const PASS = 0.9; // of the lower rate's band; the rest is where the filter falls

/** Resamples a stream; keeps what the next block needs of the last one. */
export class Resampler {
  #up;
  #down;
  #half;
  #filters;
  #kept;
  #phase = 0;

  constructor(from, to) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    this.#half = Math.ceil(HALF_WIDTH * Math.max(1, from / to));
    const cutoff = (PASS / 2) * Math.min(1, to / from);
    this.#filters = Array.from({ length: this.#up }, (_, phase) => taps(phase / this.#up, this.#half, cutoff));
    this.#kept = new Float32Array(2 * this.#half); // before a stream there is silence
  }

  /** All the samples that are due now that `block` has come. */
  process(block) {
    const source = new Float32Array(this.#kept.length + block.length);
    source.set(this.#kept);
    source.set(block, this.#kept.length);
    const width = 2 * this.#half + 1;
    const made = [];
    let start = 0;
    while (start + width <= source.length) {
      made.push(dot(this.#filters[this.#phase], source, start));
      this.#phase += this.#down;
      start += Math.floor(this.#phase / this.#up);
      this.#phase %= this.#up;
    }
    this.#kept = source.slice(start); // the filter is wider than a step: start lies within
    return Float32Array.from(made);
  }
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

function dot(filter, source, start) {
  let sum = 0;
  for (let n = 0; n < filter.length; n += 1) sum += filter[n] * source[start + n];
  return sum;
}

/** The filter for an output sample that lies `offset` input samples after the middle; its sum is 1. */
function taps(offset, half, cutoff) {
  const made = new Float64Array(2 * half + 1);
  for (let k = -half; k <= half; k += 1) {
    const x = k - offset;
    const sinc = x === 0 ? 2 * cutoff : Math.sin(2 * Math.PI * cutoff * x) / (Math.PI * x);
    const angle = (Math.PI * x) / (half + 1);
    made[k + half] = sinc * (0.42 + 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle));
  }
  const total = made.reduce((sum, tap) => sum + tap, 0);
  return Float32Array.from(made, (tap) => tap / total);
}
