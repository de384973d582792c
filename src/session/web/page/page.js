// The terminal page: the terminal, the bar above it, and whichever transport there is. What is decided is in session.js.

import { Terminal } from './vendor/xterm/xterm.mjs';
import { FitAddon } from './vendor/addon-fit/addon-fit.mjs';
import { Session } from './session.js';
import { ORDER, create, look, remove, transport } from './transport.js';
import { Typing } from './typing.js';

/** A transport that could not be reached so often, while the gateway could, is left for the next. */
const TRIES = 2;
/** Where the page keeps which session is its own; the secret is in a cookie that no script sees. */
const KEY = 'session';

const element = (id) => document.getElementById(id);
const encoder = new TextEncoder();

const COLOURS = {
  light: {
    background: '#f6f6f4', foreground: '#1d2320', cursor: '#1f6f5c', cursorAccent: '#ffffff',
    selectionBackground: '#1f6f5c40', black: '#1d2320', red: '#a3271d', green: '#1b7a4b', yellow: '#8a5a00', blue: '#1f5fa8',
    magenta: '#8a3b8f', cyan: '#0e6f78', white: '#5d6864', brightBlack: '#737c78', brightRed: '#c2362a',
    brightGreen: '#1f8f5a', brightYellow: '#a06c00', brightBlue: '#2b72c2', brightMagenta: '#a04aa6', brightCyan: '#12838e',
    brightWhite: '#3a4440',
  },
  dark: {
    background: '#141816', foreground: '#e4e9e6', cursor: '#5cc2a4', cursorAccent: '#0c1a15',
    selectionBackground: '#5cc2a450', black: '#333c38', red: '#f08a7e', green: '#6fd09b', yellow: '#e5b567', blue: '#82b1ff',
    magenta: '#d79bdc', cyan: '#6fd0d6', white: '#d5dcd8', brightBlack: '#8a948f', brightRed: '#ffa69c',
    brightGreen: '#8fe6b4', brightYellow: '#f5cd85', brightBlue: '#a6c8ff', brightMagenta: '#e8b8ec', brightCyan: '#95e4e9',
    brightWhite: '#ffffff',
  },
};

const darkness = matchMedia('(prefers-color-scheme: dark)');
const narrow = matchMedia('(max-width: 36rem)');

const terminal = new Terminal({
  cursorBlink: false,
  fontFamily: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace',
  fontSize: narrow.matches ? 12 : 14,
  lineHeight: 1.15,
  minimumContrastRatio: 4.5,
  scrollback: 5000,
  screenReaderMode: localStorage.getItem('reader') === 'on',
  theme: COLOURS[darkness.matches ? 'dark' : 'light'],
});
const fit = new FitAddon();
const typing = new Typing();

let session = new Session(Date.now());
let current = null;
let id = null;
let fresh = false;
let boot = null;
let ways = [];
let failures = 0;
let timer = null;
let control = false;
/** What the user wants of local echo; undefined: what the destination wants. */
let wanted;
/** What was typed before it was known who echoes. */
let held = '';

// --- the session ---

/** What transports need of us. */
const page = {
  write(bytes, end) {
    const of = session;
    return new Promise((drawn) => {
      terminal.write(bytes, () => {
        if (of === session) {
          session.drew(Date.now(), end);
          current?.kick();
        }
        drawn();
      });
    });
  },
  size: () => ({ columns: terminal.cols, rows: terminal.rows }),
  echo: () => show(),
  changed: () => {
    const news = session.phase !== document.body.dataset.phase || session.settlesAt !== show.settlesAt;
    if (news || session.lost > 0 || session.refused) show();
  },
  boot: (bytes) => { boot = bytes; },
};

function remember(chosen) {
  id = chosen;
  sessionStorage.setItem(KEY, id);
  localStorage.setItem(KEY, id);
}

function forget() {
  // Another tab may have begun another one since.
  if (localStorage.getItem(KEY) === id) localStorage.removeItem(KEY);
  sessionStorage.removeItem(KEY);
  id = null;
}

/** Connects, after finding or making a session if there is none yet. */
async function connect() {
  const of = session;
  if (id === null) {
    const made = await create();
    if (of !== session) return;
    if (made.id === null) {
      session.disconnected(Date.now(), made.wait);
      show();
      return;
    }
    remember(made.id);
    fresh = true;
  } else if (session.resumeFrom === null && !fresh) {
    const answer = await look(id);
    if (of !== session) return;
    if (answer === null || answer.status >= 500) {
      session.disconnected(Date.now());
      show();
      return;
    }
    if (!answer.ok) {
      forget();
      return connect();
    }
  }
  current = transport(ways[0], { session, page, id, boot, fresh }, ended);
  show();
}

/** The transport has ended. */
async function ended({ lost, heard }) {
  current = null;
  const of = session;
  const now = Date.now();
  if (lost !== undefined) {
    session.disconnected(now, lost);
    if (heard) failures = 0;
    else await diagnose();
  }
  if (session.phase === 'ended' && id !== null) forget();
  if (of === session) show();
}

/** Nothing was heard: is the session gone, or the gateway, or does this transport not get through? */
async function diagnose() {
  const of = session;
  const answer = await look(id);
  if (of !== session || answer === null || answer.status >= 500) return;
  if (!answer.ok) {
    session.over(Date.now(), 'gone');
    return;
  }
  failures += 1;
  if (failures >= TRIES && ways.length > 1) {
    ways = ways.slice(1);
    failures = 0;
    session.hurry(Date.now());
  }
}

/** Another session in the place of this one. */
function begin() {
  current?.stop();
  current = null;
  session = new Session(Date.now());
  typing.flush();
  wanted = undefined;
  held = '';
  forget();
  fresh = false;
  terminal.reset();
  connect();
  terminal.focus();
}

// --- keys ---

function typed(text) {
  if (session.isReplaying && text.startsWith('\x1b')) return;
  if (control && text.length === 1) {
    text = controlled(text);
    press(false);
  }
  const local = echoes();
  if (local === undefined) {
    held += text;
    return;
  }
  // What waited comes first, though it may be known only now.
  const { send, show: shown } = typing.keys(held + text, local);
  held = '';
  if (shown) terminal.write(shown);
  if (send) transmit(encoder.encode(send));
}

function transmit(bytes) {
  if (!session.type(bytes)) {
    say('Too much is waiting to be sent; that was not taken.');
    return;
  }
  current?.kick();
  show();
}

/** Whether we echo; undefined while that is not known. */
function echoes() {
  return wanted ?? session.echoesLocally(Date.now());
}

/** Now it is known who echoes. */
function release() {
  if (held !== '' && echoes() !== undefined) typed('');
}

/** The letter with Ctrl. */
function controlled(letter) {
  const code = letter.toUpperCase().charCodeAt(0);
  return code >= 0x40 && code < 0x60 ? String.fromCharCode(code & 0x1f) : letter;
}

function press(on) {
  control = on;
  document.querySelector('[data-key="control"]').setAttribute('aria-pressed', String(on));
}

function pressed(key) {
  if (key === 'control') press(!control);
  else {
    const arrow = { up: 'A', down: 'B', right: 'C', left: 'D' }[key];
    const lead = terminal.modes.applicationCursorKeysMode ? '\x1bO' : '\x1b[';
    typed(arrow ? lead + arrow : { escape: '\x1b', tab: '\t' }[key]);
  }
  terminal.focus();
}

// --- what is shown ---

/** Something to be told for a while, beside the state. */
function say(text) {
  const place = element('said');
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ''; }, 6000);
}

function set(node, property, value) {
  if (node[property] !== value) node[property] = value;
}

function show() {
  const now = Date.now();
  if (session.retryAt !== null && now >= session.retryAt && current === null && !show.connecting) {
    show.connecting = true;
    session.asksNow();
    connect().finally(() => { show.connecting = false; show(); });
    return;
  }
  const { status, why, seconds, action } = session.words(now);
  set(document.body.dataset, 'phase', session.phase);
  set(document.body.dataset, 'way', current === null ? '' : ways[0]);
  set(element('status'), 'textContent', status);
  set(element('since'), 'textContent', since(seconds));
  set(element('card'), 'hidden', why === '');
  set(element('why'), 'textContent', why);
  set(element('act'), 'hidden', action === '');
  set(element('act'), 'textContent', action);
  for (const name of ['interrupt', 'break', 'ayt']) {
    const able = session.phase === 'live' && current?.hasCommands === true;
    set(element(name), 'disabled', !able);
  }
  set(element('end'), 'disabled', session.phase === 'ended' || id === null);
  set(element('echo'), 'checked', echoes() === true);
  release();
  set(document, 'title', `${session.phase === 'live' ? '' : `${status} – `}${show.title || 'Session'}`);
  if (session.lost > 0) {
    say(`Others were typing too: ${session.lost} of your keys may not have arrived.`);
    session.lost = 0;
  }
  if (session.refused) {
    say('The destination takes no more input; what it has not taken is lost.');
    session.refused = false;
  }
  show.settlesAt = session.settlesAt;
  const next = [session.retryAt, session.settlesAt > now ? session.settlesAt : null, seconds === null ? null : now + 1000 - (now % 1000)];
  const due = Math.min(...next.filter((time) => time !== null));
  clearTimeout(timer);
  if (due !== Infinity) timer = setTimeout(show, Math.max(20, due - now));
}

function since(seconds) {
  const keys = session.waiting > 0 && session.phase === 'away' ? `, ${session.waiting} to be sent` : '';
  const time = seconds >= 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${seconds} s`;
  return seconds === null || (seconds < 1 && !keys) ? '' : `(${time}${keys})`;
}

function resized() {
  const size = narrow.matches ? 12 : 14;
  if (terminal.options.fontSize !== size) terminal.options.fontSize = size;
  fit.fit();
}

// --- buttons ---

function act() {
  if (session.phase === 'taken') session.takeOver(Date.now());
  else if (session.phase === 'ended') return begin();
  else session.hurry(Date.now());
  show();
  terminal.focus();
}

async function endSession() {
  if (element('ask').returnValue !== 'yes' || id === null) {
    terminal.focus();
    return;
  }
  session.ending = true;
  if (current?.close()) return;
  const of = session;
  if (await remove(id)) {
    if (of !== session) return;
    current?.stop();
    current = null;
    session.over(Date.now(), 'client');
    forget();
  } else {
    session.ending = false;
    say('The gateway does not answer: the session was not ended.');
  }
  show();
}

function open(wide) {
  element('tools').classList.toggle('open', wide);
  element('more').setAttribute('aria-expanded', String(wide));
}

/** From the terminal to the buttons and back: the terminal itself takes the tab key. */
function leaves(event) {
  if (event.type !== 'keydown') return true;
  if (event.ctrlKey && event.shiftKey && event.key === 'ArrowUp') {
    const act = element('act');
    const more = element('more');
    const first = act.offsetParent === null ? (more.offsetParent !== null ? more : document.querySelector('.tools button:not(:disabled)')) : act;
    first.focus();
    event.preventDefault();
    return false;
  }
  // With something selected this is to copy, as everywhere else.
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key === 'c' && terminal.hasSelection()) {
    setTimeout(() => terminal.clearSelection());
    return false;
  }
  return true;
}

function buttons() {
  element('act').onclick = act;
  element('new').onclick = () => {
    if (session.phase === 'ended') begin();
    else window.open('/#new', '_blank', 'noopener');
  };
  element('end').onclick = () => element('ask').showModal();
  element('ask').onclose = endSession;
  for (const name of ['interrupt', 'break', 'ayt']) {
    element(name).onclick = () => { current?.command(name); terminal.focus(); };
  }
  element('echo').onchange = ({ target }) => { wanted = target.checked; transmitRest(); terminal.focus(); };
  element('reader').checked = terminal.options.screenReaderMode;
  element('reader').onchange = ({ target }) => {
    terminal.options.screenReaderMode = target.checked;
    localStorage.setItem('reader', target.checked ? 'on' : 'off');
    terminal.focus();
  };
  element('more').onclick = () => {
    const opens = element('more').getAttribute('aria-expanded') !== 'true';
    open(opens);
    if (!opens) terminal.focus();
  };
  element('tools').addEventListener('click', ({ target }) => { if (target.closest('button')) open(false); });
  document.querySelector('.bar').addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    open(false);
    terminal.focus();
  });
  element('skip').onclick = (event) => { event.preventDefault(); terminal.focus(); };
  for (const key of document.querySelectorAll('[data-key]')) {
    // The terminal keeps the focus, and a phone its keyboard.
    key.onpointerdown = (event) => event.preventDefault();
    key.onclick = () => pressed(key.dataset.key);
  }
}

/** A line that was begun with local echo goes as it is when there is none any more. */
function transmitRest() {
  if (echoes() !== false) return;
  const rest = typing.flush();
  if (rest) transmit(encoder.encode(rest));
}

function start() {
  const asked = new URLSearchParams(location.search).get('transport');
  ways = ORDER.includes(asked) ? [asked] : [...ORDER];
  if (location.hash === '#new') history.replaceState(null, '', location.pathname + location.search);
  else id = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
  if (!/^[0-9a-f]{32}$/.test(id ?? '')) id = null;

  terminal.loadAddon(fit);
  terminal.open(element('terminal'));
  fit.fit();
  terminal.attachCustomKeyEventHandler(leaves);
  terminal.onData(typed);
  terminal.onBinary((text) => transmit(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  terminal.onResize(() => current?.resize());
  terminal.onTitleChange((title) => { show.title = title; show(); });
  new ResizeObserver(() => requestAnimationFrame(resized)).observe(element('terminal'));
  darkness.onchange = () => { terminal.options.theme = COLOURS[darkness.matches ? 'dark' : 'light']; };
  addEventListener('online', () => { session.hurry(Date.now()); show(); });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    session.hurry(Date.now());
    current?.kick();
    show();
  });
  buttons();
  terminal.focus();
  show();
  connect().finally(show);
}

start();
