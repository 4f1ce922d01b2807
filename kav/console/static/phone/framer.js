// Cuts a stream of bytes into frames of one length.

/** Keeps what is not a whole frame yet. */
export class Framer {
  #frame;
  #filled = 0;

  constructor(length) {
    this.#frame = new Uint8Array(length);
  }

  /** All frames that are complete now. */
  push(bytes) {
    const complete = [];
    let from = 0;
    while (from < bytes.length) {
      const part = bytes.subarray(from, from + this.#frame.length - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      from += part.length;
      if (this.#filled === this.#frame.length) {
        complete.push(this.#frame);
        this.#frame = new Uint8Array(this.#frame.length);
        this.#filled = 0;
      }
    }
    return complete;
  }
}
