// The ways to a session: a WebSocket, or where that does not get through a stream of events, or long polls, both with
// input by POST. Each is one connection, or what passes for one, and ends once.

import { Link, ROOM } from './link.js';
import { WINDOW } from './session.js';

/** The socket may have so much that it has not sent. */
const MOST_BUFFERED = 256 * 1024;
/** So soon is a full socket looked at again, in milliseconds. */
const DRAINS = 20;
/** So long may a connection take to come about. */
const PATIENCE = 10000;
/** So many seconds does a poll wait for output: less than proxies wait for an answer. */
const WAIT = 25;
/** A stream of events says something more often than this. */
const SILENCE = 45000;
/** Between two streams of events. */
const PAUSE = 100;
/** Why a session is over, as a stream of events says it. */
const CLOSED = { by_client: 'client', complete: 'complete', expired: 'expired', by_administrator: 'administrator', stopped: 'server' };
/** So much input is posted at once. */
const POSTED = 64 * 1024;

export const ORDER = ['ws', 'sse', 'poll'];

/** Makes the transport of this name. `context`: session, page, id, fresh, boot; `ended` is called once with how. */
export function transport(name, context, ended) {
  switch (name) {
    case 'sse': return new Events(context, ended);
    case 'poll': return new Polls(context, ended);
    default: return new Socket(context, ended);
  }
}

/** That it is this page that asks: without TLS a browser does not say so. Others cannot send it without being allowed to. */
const OWN = { 'X-Session-Page': '1' };

/** What the gateway says of a session: an answer of fetch, or null if it cannot be reached. */
export async function look(id) {
  try {
    return await fetch(`/v1/sessions/${id}`, { cache: 'no-store', headers: OWN });
  } catch {
    return null;
  }
}

/** Makes a session. Its id, or null with the milliseconds to wait. */
export async function create() {
  try {
    const answer = await fetch('/v1/sessions', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}',
    });
    if (answer.ok) return { id: (await answer.json()).id };
    return { id: null, wait: seconds(answer) * 1000 };
  } catch {
    return { id: null, wait: 0 };
  }
}

/** Ends a session, however it is connected to. Whether it is over. */
export async function remove(id) {
  try {
    const answer = await fetch(`/v1/sessions/${id}`, { method: 'DELETE', headers: { 'Content-Type': 'application/json' } });
    return answer.ok || answer.status === 401 || answer.status === 404;
  } catch {
    return false;
  }
}

function seconds(answer) {
  const said = Number(answer.headers.get('Retry-After'));
  return Number.isFinite(said) ? Math.min(Math.max(said, 0), 3600) : 0;
}

class Socket {
  #link;
  #socket;
  #session;
  #page;
  #ended;
  #timer = null;

  constructor({ session, page, id, boot, fresh }, ended) {
    this.#session = session;
    this.#page = page;
    this.#ended = ended;
    this.#link = new Link(session, page, { id, boot, fresh }, Date.now());
    const address = new URL(`/v1/sessions/${id}/ws`, location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.#socket = new WebSocket(address, ['socket-protector.v1']);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => this.kick();
    this.#socket.onclose = () => this.#end({ lost: 0 });
    this.#socket.onmessage = ({ data }) => this.#heard(data);
    this.#timer = setTimeout(() => this.#end({ lost: 0 }), PATIENCE);
  }

  #heard(data) {
    let end = { lost: 0 };
    try {
      end = typeof data === 'string' ? end : this.#link.receive(new Uint8Array(data), Date.now());
    } catch (error) {
      console.warn(`the session server broke the protocol: ${error.message}`);
    }
    this.kick();
    if (end !== null) this.#end(end);
    else this.#page.changed();
  }

  /** There may be something to be sent. */
  kick() {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    clearTimeout(this.#timer);
    const now = Date.now();
    if (this.#link.isSilent(now)) {
      this.#end({ lost: 0 });
      return;
    }
    const full = this.#socket.bufferedAmount >= MOST_BUFFERED;
    const bytes = full ? null : this.#link.transmit(now);
    if (bytes) this.#socket.send(bytes);
    // More may be left than goes at once.
    const more = bytes !== null && bytes.length >= ROOM ? now : Infinity;
    const next = Math.min(this.#link.deadline, this.#session.ackAt ?? Infinity, full ? now + DRAINS : more);
    this.#timer = setTimeout(() => this.kick(), Math.max(0, Math.min(next - now, 60000)));
  }

  resize() {
    this.#link.resize();
    this.kick();
  }

  command(name) {
    const said = this.#link.command(name);
    this.kick();
    return said;
  }

  close() {
    const said = this.#link.close();
    this.kick();
    return said;
  }

  get hasCommands() {
    return true;
  }

  stop() {
    this.#ended = () => {};
    this.#end({ over: true });
  }

  #end(how) {
    clearTimeout(this.#timer);
    this.#socket.onclose = null;
    this.#socket.onmessage = null;
    this.#socket.close();
    const ended = this.#ended;
    this.#ended = () => {};
    ended({ ...how, heard: this.#link.heard });
  }
}

/** What both other ways have in common: coming, input, sizes, and the end. */
class Requests {
  session;
  page;
  heard = false;
  #id;
  #fresh;
  #ended;
  #posting = false;
  #abort = new AbortController();

  constructor({ session, page, id, fresh }, ended) {
    this.session = session;
    this.page = page;
    this.#id = id;
    this.#fresh = fresh;
    this.#ended = ended;
    this.#run();
  }

  async #run() {
    try {
      const state = await this.#state();
      if (state && this.#attach(state)) await this.receive();
    } catch (error) {
      // An answer that does not come, or breaks off.
      this.end({ lost: 0 }, error);
    }
  }

  #attach(state) {
    const { session } = this;
    const [now, { base, next }] = [Date.now(), state.output];
    if (session.resumeFrom !== null && session.resumeFrom < base) {
      session.stopped(now, 'range');
      this.end({ over: true });
      return false;
    }
    session.attached(now, {
      inputNext: state.input.next, outputBase: base, outputNext: next, epoch: 0,
      destination: state.destination, fresh: this.#fresh, window: WINDOW,
    });
    this.page.changed();
    this.resize();
    this.kick();
    return true;
  }

  get id() {
    return this.#id;
  }

  /** A request of this connection. */
  ask(path, { headers, ...options } = {}) {
    const [address, signal] = [`/v1/sessions/${this.#id}${path}`, this.#abort.signal];
    return fetch(address, { cache: 'no-store', signal, headers: { ...OWN, ...headers }, ...options });
  }

  async #state() {
    const answer = await this.ask('');
    return answer.ok ? answer.json() : this.refused(answer);
  }

  /** What an answer means that is no success. Returns null. */
  async refused(answer) {
    const now = Date.now();
    this.heard = true;
    switch (answer.status) {
      case 401: case 404:
        this.session.over(now, 'gone');
        return this.end({ over: true });
      case 409: {
        const { error } = await answer.json();
        this.session.stopped(now, error === 'detached' ? 'administrator' : 'taken');
        return this.end({ over: true });
      }
      case 410: case 416:
        this.session.stopped(now, 'range');
        return this.end({ over: true });
      default:
        return this.end({ lost: seconds(answer) * 1000 });
    }
  }

  /** Gives the terminal output, and waits until it has drawn that: what comes next acknowledges it. */
  async draw(offset, bytes) {
    const written = this.session.output(Date.now(), offset, bytes);
    if (!written) return;
    await this.page.write(written.bytes, written.end);
    this.page.changed();
  }

  /** What the destination has said beside its output. */
  happened({ kind, value }) {
    if (kind !== 'echo') return;
    this.session.echo = value === true;
    this.page.echo();
  }

  /** The output has ended. */
  async finish(destination) {
    const known = destination ?? (await this.#state())?.destination ?? 'eof';
    this.session.outputEnds(null, known);
    this.session.finish(Date.now());
    await this.ask('/fin', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' });
    this.end({ over: true });
  }

  /** The destination may have become known. */
  async lookAgain() {
    if (this.session.destination !== 'connecting') return;
    const state = await this.#state();
    if (state) this.session.destinationIs(Date.now(), state.destination);
    this.page.changed();
  }

  /** There may be input. One POST at a time, so that it stays in order. */
  async kick() {
    if (this.#posting || !this.session.isConnected) return;
    this.#posting = true;
    try {
      for (let input = this.session.nextInput(POSTED); input; input = this.session.nextInput(POSTED)) {
        if (!(await this.#post(input))) break;
      }
    } catch (error) {
      this.end({ lost: 0 }, error);
    }
    this.#posting = false;
  }

  async #post({ offset, bytes }) {
    const answer = await this.ask('/input', {
      method: 'POST', body: bytes,
      headers: { 'Content-Type': 'application/octet-stream', 'Stream-Offset': String(offset) },
    });
    if (answer.status === 503) {
      await new Promise((wake) => setTimeout(wake, Math.max(seconds(answer), 0.2) * 1000));
      this.session.rewind();
      return true;
    }
    if (answer.status !== 200 && answer.status !== 409) {
      await this.refused(answer);
      return false;
    }
    const { next, error } = await answer.json();
    if (answer.status === 200) {
      this.session.goOn(Math.min(Math.max(0, next - offset), bytes.length), next, WINDOW);
      return true;
    }
    if (error === 'conflict') {
      this.session.overtaken(next, WINDOW);
      return true;
    }
    // The input has ended: the output's end will tell.
    return false;
  }

  resize() {
    const { columns, rows } = this.page.size();
    const body = JSON.stringify({ columns, rows });
    this.ask('/resize', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }).catch(() => {});
  }

  get hasCommands() {
    return false;
  }

  command() {
    return false;
  }

  close() {
    return false;
  }

  stop() {
    this.#ended = () => {};
    this.end({ over: true });
  }

  end(how, error) {
    const expected = !error || error.name === 'AbortError' || error instanceof TypeError;
    if (!expected) console.warn(`the session's transport failed: ${error.message}`);
    const ended = this.#ended;
    this.#ended = () => {};
    this.#abort.abort();
    ended({ ...how, heard: this.heard });
    return null;
  }
}

class Polls extends Requests {
  async receive() {
    for (;;) {
      const answer = await this.ask(`/output?from=${this.session.resumeFrom}&wait=${WAIT}`, { headers: { Accept: 'application/json' } });
      if (answer.status !== 200 && answer.status !== 204) {
        await this.refused(answer);
        return;
      }
      this.heard = true;
      if (answer.status === 200) {
        const { offset, data, fin, destination, events } = await answer.json();
        // What is true at the end of these bytes is what counts for the next key.
        for (const event of events ?? []) this.happened(event);
        await this.draw(offset, fromBase64(data));
        if (fin) {
          await this.finish(destination);
          return;
        }
      }
      await this.lookAgain();
    }
  }
}

class Events extends Requests {
  async receive() {
    // The stream ends now and then, so that the next one acknowledges what was drawn.
    while (await this.#follow()) await new Promise((wake) => setTimeout(wake, PAUSE));
  }

  /** One stream, to its end. Whether another one may follow. */
  async #follow() {
    const answer = await this.ask('/events', { headers: { 'Last-Event-ID': String(this.session.resumeFrom), Accept: 'text/event-stream' } });
    if (!answer.ok) {
      await this.refused(answer);
      return false;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    for (;;) {
      // Something comes at once, unless somebody on the way keeps it.
      const silence = setTimeout(() => this.end({ lost: 0 }), this.heard ? SILENCE : PATIENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return this.heard || this.end({ lost: 0 });
      this.heard = true;
      for (const event of parser.push(value)) {
        if (await this.#event(event)) return false;
      }
      await this.lookAgain();
    }
  }

  /** Whether it was the last. */
  async #event({ type, id, data }) {
    const now = Date.now();
    switch (type) {
      case 'output': {
        const bytes = fromBase64(data);
        await this.draw(Number(id) - bytes.length, bytes);
        return false;
      }
      case 'happened':
        this.happened(JSON.parse(data));
        return false;
      case 'gap':
        this.session.gap(JSON.parse(data).to);
        return false;
      case 'end':
        await this.finish(JSON.parse(data).destination);
        return true;
      case 'taken_over':
        this.session.stopped(now, 'taken');
        this.end({ over: true });
        return true;
      case 'detached':
        this.session.stopped(now, 'administrator');
        this.end({ over: true });
        return true;
      case 'closed':
        this.session.over(now, CLOSED[JSON.parse(data).reason] ?? 'gone');
        this.end({ over: true });
        return true;
      default:
        return false;
    }
  }
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** The stream of events, as text that comes in pieces. */
export class EventParser {
  #rest = '';
  #event = { type: 'message', id: '', data: [] };

  /** The events that are whole now. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line === '') {
        const { type, id, data } = this.#event;
        if (data.length > 0) events.push({ type, id, data: data.join('\n') });
        this.#event = { type: 'message', id, data: [] };
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') this.#event.type = value;
      if (field === 'id') this.#event.id = value;
      if (field === 'data') this.#event.data.push(value);
    }
    return events;
  }
}
