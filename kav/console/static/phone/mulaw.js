// Mu-law (ITU-T G.711) as a telephone network speaks it: one byte a sample, 8000 a second.

export const RATE = 8000;
export const SILENCE = 0xff; // 0x00 is nearly full scale: a loud click

const BIAS = 0x84;
const CLIP = 32635;
const FULL_SCALE = 32768;

/** One mu-law byte as a 16-bit sample. */
export function decodeByte(byte) {
  const code = ~byte & 0xff;
  const magnitude = ((((code & 0x0f) << 3) + BIAS) << ((code >> 4) & 0x07)) - BIAS;
  return code & 0x80 ? -magnitude : magnitude;
}

/** One 16-bit sample as a mu-law byte. */
export function encodeSample(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(sample), CLIP) + BIAS;
  const exponent = 24 - Math.clz32(magnitude);
  return ~(sign | (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0f)) & 0xff;
}

const DECODED = Float32Array.from({ length: 256 }, (_, byte) => decodeByte(byte) / FULL_SCALE);

/** Mu-law bytes as samples from -1 to 1. */
export function decode(bytes) {
  return Float32Array.from(bytes, (byte) => DECODED[byte]);
}

/** Samples from -1 to 1 as mu-law bytes; what is louder is clipped. */
export function encode(samples) {
  return Uint8Array.from(samples, (sample) => encodeSample(Math.round(Math.max(-1, Math.min(1, sample)) * 32767)));
}
