// Markdown as elements of the page.
//
// markdown-it reads the text into tokens; the elements are made here, one by one, of a fixed set, with text as text nodes.
// Output of a model is never HTML: its tags are shown as text. Nothing is loaded from elsewhere: an image becomes a link.

import MarkdownIt from './vendor/markdown-it.js';

/** Addresses of anything else (`javascript:`, `data:`, paths of this server) stay text. */
const SAFE_ADDRESS = /^(https?|mailto):/i;

const reader = new MarkdownIt({ html: false, linkify: true, breaks: true });
// A definition at the end of an answer would change blocks that are long finished.
reader.disable('reference');
reader.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
reader.validateLink = (address) => SAFE_ADDRESS.test(address.trim());

/** The element of a token with contents. Titles in an answer stand below those of the page. */
const ELEMENTS = {
  paragraph_open: 'p',
  bullet_list_open: 'ul',
  ordered_list_open: 'ol',
  list_item_open: 'li',
  blockquote_open: 'blockquote',
  table_open: 'table',
  thead_open: 'thead',
  tbody_open: 'tbody',
  tr_open: 'tr',
  th_open: 'th',
  td_open: 'td',
  em_open: 'em',
  strong_open: 'strong',
  s_open: 's',
};

/**
 * The blocks of a text: paragraphs, lists, code, each as the line that it begins on (from 0) and its tokens.
 *
 * @param {string} text
 * @returns {{ line: number, tokens: object[] }[]}
 */
export function blocks(text) {
  const found = [];
  for (const token of reader.parse(text, {})) {
    if (token.level === 0 && token.nesting >= 0) found.push({ line: token.map[0], tokens: [] });
    found.at(-1).tokens.push(token);
  }
  return found;
}

/** A block as one element. */
export function elementOf({ tokens }) {
  const holder = document.createDocumentFragment();
  build(tokens, holder);
  return holder.firstChild;
}

function build(tokens, holder) {
  let at = holder;
  for (const token of tokens) {
    // The paragraphs of a list without blank lines, which are none.
    if (token.hidden) continue;
    if (token.nesting > 0) at = at.appendChild(open(token));
    else if (token.nesting < 0) at = at.parentNode;
    else leaf(token, at);
  }
}

function open(token) {
  switch (token.type) {
    case 'heading_open':
      return document.createElement(`h${Math.min(Number(token.tag.slice(1)) + 2, 6)}`);
    case 'link_open':
      return link(token.attrGet('href'));
    default: {
      const element = document.createElement(ELEMENTS[token.type] ?? 'span');
      if (token.type === 'ordered_list_open') element.start = Number(token.attrGet('start') ?? 1);
      if (token.type === 'th_open') element.scope = 'col';
      const align = /^text-align:(center|right)$/.exec(token.attrGet('style'))?.[1];
      if (align) element.className = align;
      return element;
    }
  }
}

function leaf(token, at) {
  switch (token.type) {
    case 'inline':
      build(token.children, at);
      break;
    case 'softbreak':
    case 'hardbreak':
      at.append(document.createElement('br'));
      break;
    case 'hr':
      at.append(document.createElement('hr'));
      break;
    case 'code_inline':
      at.append(withText('code', token.content));
      break;
    case 'code_block':
    case 'fence':
      at.append(codeBlock(token.content, token.info.trim().split(/\s+/)[0]));
      break;
    case 'image':
      at.append(link(token.attrGet('src'), token.content || token.attrGet('src')));
      break;
    default:
      at.append(token.content);
  }
}

function link(address, text = '') {
  const element = withText('a', text);
  element.href = address;
  element.target = '_blank';
  element.rel = 'noopener noreferrer';
  return element;
}

/** Code with its language and a button to copy it, which the transcript binds. */
export function codeBlock(code, language) {
  const figure = document.createElement('figure');
  figure.className = 'code';
  const caption = document.createElement('figcaption');
  const copy = withText('button', 'Copy');
  copy.type = 'button';
  copy.className = 'quiet copy-code';
  copy.setAttribute('aria-label', 'Copy this code');
  caption.append(withText('span', language || 'code'), copy);
  const pre = document.createElement('pre');
  pre.tabIndex = 0; // so that the keyboard can scroll it
  pre.append(withText('code', code));
  figure.append(caption, pre);
  return figure;
}

function withText(name, text) {
  const element = document.createElement(name);
  element.append(text);
  return element;
}
