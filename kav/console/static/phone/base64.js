// Bytes as base64 and back: audio travels so in Media Streams' JSON.

/** Bytes as base64. */
export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

/** Base64 as bytes; throws on what is none. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
