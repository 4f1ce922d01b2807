// What the telephone network keeps of the bot's words until they are played, with the marks between them.
//
// A mark comes back when everything before it has been played, at once if nothing is left; `clear` drops everything
// and gives all marks back, in order (Twilio Media Streams, "mark" and "clear" messages).

const LONGEST_S = 600; // Twilio throws away what is more than ten minutes

/** A queue of samples and marks. */
export class Playout {
  #chunks = [];
  #offset = 0;
  #pushed = 0;
  #played = 0;
  #marks = [];
  #longest;

  constructor(rate) {
    this.#longest = LONGEST_S * rate;
  }

  /** Samples that are still to be played. */
  get waiting() {
    return this.#pushed - this.#played;
  }

  /** Queue samples; tells whether there was room. */
  push(samples) {
    if (this.waiting + samples.length > this.#longest) return false;
    this.#chunks.push(samples);
    this.#pushed += samples.length;
    return true;
  }

  /** Put a mark behind what is queued; returns the names that come back at once. */
  mark(name) {
    this.#marks.push({ name, at: this.#pushed });
    return this.#passed();
  }

  /** Drop everything; returns the names of all marks. */
  clear() {
    this.#chunks = [];
    this.#offset = 0;
    this.#played = this.#pushed;
    return this.#passed();
  }

  /** Fill `block` with what comes next, then with silence; returns the names of the marks that were passed. */
  pull(block) {
    let filled = 0;
    while (filled < block.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0];
      const part = chunk.subarray(this.#offset, this.#offset + block.length - filled);
      block.set(part, filled);
      filled += part.length;
      this.#offset += part.length;
      if (this.#offset >= chunk.length) {
        this.#chunks.shift();
        this.#offset = 0;
      }
    }
    block.fill(0, filled);
    this.#played += filled;
    return this.#passed();
  }

  #passed() {
    const names = [];
    while (this.#marks.length > 0 && this.#marks[0].at <= this.#played) names.push(this.#marks.shift().name);
    return names;
  }
}
