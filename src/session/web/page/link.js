// One connection that speaks the session protocol, between its bytes and the session. No network: whoever has the
// connection passes on what comes and sends what is there to be sent. The gateway proves for us that we know the secret,
// so the proofs are zero.

import { COMMAND, DATA_OFFSET, DESTINATION, MODE, OLDEST, PREFACE, Reader, encode, idBytes, join } from './frames.js';
import { WINDOW } from './session.js';

/** A server has so long to say hello and to answer. */
const PATIENCE = 10000;
/** So many PINGs without an answer, and the server is taken for gone. */
const PINGS = 2;
/** So much input is sent in one go: a message of a WebSocket may have one longest frame, and not much more. */
export const ROOM = 32 * 1024;

const CLOSED = { 1: 'client', 2: 'complete', 3: 'expired', 4: 'administrator', 5: 'server' };
const DETACHED = { 1: 'taken', 2: 'administrator', 3: 'broke' };
const NO_SECRETS = new Uint8Array(32);

export class Link {
  /** Whether the server has said something: then it can be reached this way. */
  heard = false;

  #session;
  #page;
  #reader = new Reader();
  #out = [PREFACE];
  #state = 'greeting';
  #id;
  #boot;
  #fresh;
  #heartbeat = 0;
  #heardAt;
  #pings = 0;
  #longest = 0;
  #owesAck = false;
  #finished = false;

  /**
   * `page.write(bytes, end)` gives the terminal something to draw, `page.size()` tells its columns and rows, and
   * `page.echo()` that the session's echo may have changed.
   */
  constructor(session, page, { id, boot, fresh }, now) {
    this.#session = session;
    this.#page = page;
    this.#id = id;
    this.#boot = boot ?? new Uint8Array(16);
    this.#fresh = fresh;
    this.#heardAt = now;
  }

  /** Bytes have come. Returns how the connection is to end, or null: 'lost', 'stopped', 'over', or a wait in ms. */
  receive(bytes, now) {
    this.heard = true;
    this.#heardAt = now;
    this.#pings = 0;
    this.#reader.push(bytes);
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
      const end = this.#frame(frame, now);
      if (end !== null) return end;
    }
    return null;
  }

  #frame(frame, now) {
    if (frame.type === 'reject') return this.#rejected(frame, now);
    if (this.#state === 'greeting') return frame.type === 'hello' ? this.#greeted(frame) : { lost: 0 };
    if (this.#state === 'coming') return frame.type === 'accept' ? this.#accepted(frame, now) : { lost: 0 };
    const session = this.#session;
    switch (frame.type) {
      case 'data': {
        const written = session.output(now, frame.offset, frame.bytes);
        if (written) this.#page.write(written.bytes, written.end);
        return null;
      }
      case 'ack':
        session.arrived(frame.next, frame.window);
        return null;
      case 'input':
        session.inputOfAll(frame.total, frame.writers);
        return null;
      case 'event':
        if (frame.kind === 1) {
          session.echo = frame.bytes[0] === 1;
          this.#page.echo();
        }
        if (frame.kind === 5) session.refused = true;
        return null;
      case 'gap':
        session.gap(frame.to);
        return null;
      case 'fin':
        session.outputEnds(frame.length, 'eof');
        return null;
      case 'reset':
        session.outputEnds(frame.length, 'reset');
        return null;
      case 'destination':
        return this.#destination(DESTINATION[frame.destination], now);
      case 'ping':
        this.#out.push(encode({ type: 'pong', bytes: frame.bytes }));
        return null;
      case 'closed':
        session.over(now, CLOSED[frame.reason] ?? 'gone');
        return { over: true };
      case 'detached': {
        const reason = DETACHED[frame.reason];
        if (!reason) return { lost: 0 };
        session.stopped(now, reason);
        return { over: true };
      }
      default:
        // PONG and GOAWAY want nothing of us: the connection's end will be told.
        return null;
    }
  }

  #greeted(hello) {
    this.#longest = hello.maxPayload - DATA_OFFSET;
    this.#heartbeat = hello.heartbeat * 1000;
    this.#page.boot(hello.boot);
    const from = this.#session.resumeFrom;
    this.#session.asks();
    this.#out.push(encode({
      type: 'resume', id: idBytes(this.#id), boot: this.#boot, nonce: crypto.getRandomValues(new Uint8Array(32)),
      next: from ?? OLDEST, mode: MODE.steal, mac: NO_SECRETS,
    }));
    this.#state = 'coming';
    return null;
  }

  #accepted(accept, now) {
    this.#state = 'attached';
    this.#session.attached(now, { ...accept, destination: DESTINATION[accept.destination], fresh: this.#fresh });
    this.#owesAck = true;
    this.resize();
    return this.#destination(DESTINATION[accept.destination], now);
  }

  #destination(destination, now) {
    this.#session.destinationIs(now, destination);
    // Their ends come by FIN and RESET; what was never reached has no other end than this.
    if (['refused', 'timeout', 'unresolved'].includes(destination)) this.#session.outputEnds(null, destination);
    return null;
  }

  #rejected(frame, now) {
    const session = this.#session;
    switch (frame.code) {
      case 2: case 3:
        session.over(now, 'gone');
        return { over: true };
      case 4: case 7:
        return { lost: Math.min(frame.seconds, 3600) * 1000 };
      case 6:
        session.stopped(now, 'range');
        return { over: true };
      case 9:
        return { lost: 0 };
      default:
        session.stopped(now, frame.code === 1 ? 'version' : 'broke');
        return { over: true };
    }
  }

  /** The terminal has another size. */
  resize() {
    if (this.#state !== 'attached') return;
    const { columns, rows } = this.#page.size();
    this.#out.push(encode({ type: 'resize', columns, rows }));
  }

  /** One of telnet's commands: ayt, break, interrupt. False where it cannot be said. */
  command(name) {
    if (this.#state !== 'attached') return false;
    this.#out.push(encode({ type: 'command', command: COMMAND[name] }));
    return true;
  }

  /** Ends the session. */
  close() {
    if (this.#state !== 'attached') return false;
    this.#out.push(encode({ type: 'close' }));
    return true;
  }

  /** All that is to be sent now, or null. */
  transmit(now) {
    const session = this.#session;
    if (this.#state === 'attached') {
      if (session.endIsDrawn && !this.#finished) this.#finish(now);
      else if (this.#owesAck || session.ackDue(now)) this.#acknowledge(false);
      this.#sendInput();
    }
    if (this.#out.length === 0) return null;
    const bytes = join(this.#out);
    this.#out = [];
    return bytes;
  }

  #acknowledge(end) {
    this.#owesAck = false;
    this.#out.push(encode({ type: 'ack', next: this.#session.acknowledge(), window: WINDOW, end }));
  }

  /** The end of the output has arrived with us, and nobody will type any more: so the session is complete. */
  #finish(now) {
    this.#finished = true;
    this.#session.finish(now);
    this.#acknowledge(true);
    // What was typed and not sent has nobody to go to.
    this.#out.push(encode({ type: 'fin', length: this.#session.sent }));
  }

  #sendInput() {
    if (this.#finished) return;
    let room = ROOM;
    while (room > 0) {
      const input = this.#session.nextInput(Math.min(room, this.#longest));
      if (input === null) return;
      this.#out.push(encode({ type: 'data', ...input }));
      room -= input.bytes.length;
    }
  }

  /** Whether the server has been silent for too long. PINGs what is owed. */
  isSilent(now) {
    if (this.#state !== 'attached') return now - this.#heardAt >= PATIENCE;
    if (this.#heartbeat === 0 || now - this.#heardAt < this.#heartbeat * (this.#pings + 1)) return false;
    this.#pings += 1;
    if (this.#pings > PINGS) return true;
    this.#out.push(encode({ type: 'ping', bytes: new Uint8Array(8) }));
    return false;
  }

  /** When to look at it again, at the latest. */
  get deadline() {
    if (this.#state !== 'attached') return this.#heardAt + PATIENCE;
    return this.#heartbeat === 0 ? Infinity : this.#heardAt + this.#heartbeat * (this.#pings + 1);
  }
}
