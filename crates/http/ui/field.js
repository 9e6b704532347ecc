// Fields to write a message in.

const touch = matchMedia('(pointer: coarse)');

/** Whether a key press sends the message. */
export function sends({ key, isComposing, shiftKey, altKey, ctrlKey, metaKey }) {
  // Enter also ends the composition of a character, and on a touch keyboard it is the only way to a new line.
  if (key !== 'Enter' || isComposing || shiftKey || altKey) return false;
  return !touch.matches || ctrlKey || metaKey;
}

/** Browsers without `field-sizing` get the same: a field as high as its text, up to what the style sheet allows. */
export function fit(field) {
  if (CSS.supports('field-sizing', 'content')) return;
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + 2}px`;
}

/** Focuses the field for the next message, unless that would open an on-screen keyboard. */
export function invite(field) {
  if (!touch.matches) field.focus({ preventScroll: true });
}
