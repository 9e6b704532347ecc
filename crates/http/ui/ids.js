// The ids of generations, as the address bar carries them: `/#<uuid>`.
//
// The part behind the hash stays in the browser: it is not in the server's access log when the page is loaded, and it
// survives a reload, the back button and being sent to another device.

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A random UUID. `crypto.randomUUID` exists only on HTTPS and localhost; a page on a LAN address makes its own. */
export function freshId(crypto = globalThis.crypto) {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The id in a location's hash, or null. */
export function idIn(hash) {
  const id = hash.replace(/^#/, '').toLowerCase();
  return UUID.test(id) ? id : null;
}
