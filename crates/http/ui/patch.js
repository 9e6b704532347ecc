// Makes one tree of elements like another, and touches only what differs: what a reader has selected stays selected, and
// the browser lays out again what has changed.

/** Puts `next` in the place of the child at `index`, with as much of that child as is the same. */
export function put(parent, index, next) {
  const known = parent.childNodes[index];
  if (!known) parent.append(next);
  else if (!morph(known, next)) known.replaceWith(next);
}

/** Whether `known` could be made like `next`. */
function morph(known, next) {
  if (known.nodeName !== next.nodeName) return false;
  if (known.nodeType === Node.TEXT_NODE) {
    // Text that grows is the common case, and appending keeps a selection.
    if (next.data.startsWith(known.data)) {
      if (next.length > known.length) known.appendData(next.data.slice(known.length));
    } else known.data = next.data;
    return true;
  }
  if (!sameAttributes(known, next)) return false;
  const children = [...next.childNodes];
  children.forEach((child, index) => put(known, index, child));
  trim(known, children.length);
  return true;
}

/** Removes the children from `length` on. */
export function trim(parent, length) {
  while (parent.childNodes.length > length) parent.lastChild.remove();
}

function sameAttributes(known, next) {
  const names = next.getAttributeNames();
  return (
    known.getAttributeNames().length === names.length && names.every((name) => known.getAttribute(name) === next.getAttribute(name))
  );
}
