// One connection of the page, with a server that is a few lines of test and speaks by the page's own codec, which
// frames.test.mjs holds to the golden vectors.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { OLDEST, PREFACE, Reader, encode, join } from '../../../../src/session/web/page/frames.js';
import { Link } from '../../../../src/session/web/page/link.js';
import { Session, WINDOW } from '../../../../src/session/web/page/session.js';

// Older versions of node have it only here.
globalThis.crypto ??= webcrypto;

const ID = '1d'.repeat(16);
const bytes = (string) => new TextEncoder().encode(string);
const hello = { type: 'hello', version: 1, boot: new Uint8Array(16).fill(7), nonce: new Uint8Array(32), maxPayload: 100, window: 262144, heartbeat: 15, ttl: 3600 };
const accept = { type: 'accept', id: new Uint8Array(16).fill(0x1d), epoch: 1, inputNext: 0, outputBase: 0, outputNext: 0, destination: 1, ends: 0, expires: 3600, mac: new Uint8Array(32) };
const ack = { type: 'ack', next: 0, window: 1000 };

/** A page that draws when the test says so. */
function pageOf() {
  return {
    drawn: '', pending: [], booted: null,
    write(written, end) { this.pending.push({ written, end }); },
    size: () => ({ columns: 80, rows: 24 }),
    echo() {}, boot(id) { this.booted = id; },
  };
}

class Scene {
  now = 0;
  session = new Session(0);
  page = pageOf();

  constructor(fresh = true) {
    this.connect(fresh);
  }

  connect(fresh = false) {
    this.link = new Link(this.session, this.page, { id: ID, boot: null, fresh }, this.now);
    this.reader = new Reader();
    const first = this.link.transmit(this.now);
    assert.deepEqual(first, PREFACE);
    return this;
  }

  hear(...frames) {
    return this.link.receive(join(frames.map(encode)), this.now);
  }

  /** What the page says now. */
  said() {
    const all = this.link.transmit(this.now);
    if (all === null) return [];
    this.reader.push(all);
    const frames = [];
    for (let frame = this.reader.next(); frame; frame = this.reader.next()) frames.push(frame);
    return frames;
  }

  attach(changes = {}) {
    this.hear(hello);
    const [resume] = this.said();
    this.hear({ ...accept, ...changes }, { ...ack, next: changes.inputNext ?? 0 });
    return resume;
  }

  draw() {
    for (const { written, end } of this.page.pending.splice(0)) {
      this.page.drawn += new TextDecoder().decode(written);
      this.session.drew(this.now, end);
    }
  }
}

test('it resumes by stealing, without a proof, from the oldest byte', () => {
  const scene = new Scene();
  const resume = scene.attach();
  assert.equal(resume.type, 'resume');
  assert.deepEqual([resume.next, resume.mode], [OLDEST, 0]);
  assert.deepEqual(resume.id, new Uint8Array(16).fill(0x1d));
  assert.deepEqual(resume.mac, new Uint8Array(32));
  assert.notDeepEqual(resume.nonce, new Uint8Array(32));
  assert.deepEqual(scene.page.booted, hello.boot);
  assert.equal(scene.session.phase, 'live');
});

test('it says nothing that it was not asked for', () => {
  const scene = new Scene();
  assert.deepEqual(scene.said(), []);
  scene.session.type(bytes('x'));
  scene.hear(hello);
  assert.deepEqual(scene.said().map((frame) => frame.type), ['resume']);
  assert.deepEqual(scene.said(), []);
  scene.hear(accept);
  assert.deepEqual(scene.said().map((frame) => frame.type), ['resize', 'ack'], 'no DATA before an ACK');
  scene.hear(ack);
  assert.deepEqual(scene.said().map((frame) => frame.type), ['data']);
});

test('it tells its window and the size of the terminal', () => {
  const scene = new Scene();
  scene.attach();
  const [resize, first] = scene.said();
  assert.deepEqual([resize.columns, resize.rows], [80, 24]);
  assert.deepEqual([first.next, first.window, first.end], [0, WINDOW, false]);
});

test('output is acknowledged when it is drawn, and asked for again from there', () => {
  const scene = new Scene();
  scene.attach();
  scene.said();
  scene.hear({ type: 'data', offset: 0, bytes: bytes('hello') });
  scene.now = 1000;
  assert.deepEqual(scene.said(), []);
  scene.draw();
  assert.equal(scene.page.drawn, 'hello');
  scene.now = 1050;
  assert.deepEqual(scene.said().map(({ type, next }) => [type, next]), [['ack', 5]]);

  scene.hear({ type: 'data', offset: 5, bytes: bytes(' you') });
  scene.session.disconnected(scene.now);
  scene.connect();
  assert.equal(scene.attach({ epoch: 2, outputNext: 9 }).next, 5);
  scene.hear({ type: 'data', offset: 5, bytes: bytes(' you!') });
  scene.draw();
  assert.equal(scene.page.drawn, 'hello you!');
});

test('input goes in frames that the server takes', () => {
  const scene = new Scene();
  scene.attach();
  scene.said();
  scene.session.type(new Uint8Array(250));
  const sent = scene.said();
  assert.deepEqual(sent.map(({ offset, bytes: part }) => [offset, part.length]), [[0, 92], [92, 92], [184, 66]]);
});

test('what is sent at once fits into one message', () => {
  const scene = new Scene();
  scene.hear({ ...hello, maxPayload: 16384 });
  scene.said();
  scene.hear(accept, { ...ack, window: 262144 });
  scene.session.type(new Uint8Array(300000));
  let sent = 0;
  for (let all = scene.link.transmit(0); all; all = scene.link.transmit(0)) {
    assert.ok(all.length <= 65539, `${all.length} bytes`);
    sent += all.length;
  }
  assert.ok(sent > 262144);
});

test('an echo is told of', () => {
  const scene = new Scene();
  scene.attach();
  scene.hear({ type: 'event', offset: 0, kind: 1, bytes: Uint8Array.of(1) });
  assert.equal(scene.session.echo, true);
  scene.hear({ type: 'event', offset: 0, kind: 2, bytes: Uint8Array.of(0) });
  assert.equal(scene.session.echo, true);
});

test('what others send and what nobody takes is told of', () => {
  const scene = new Scene();
  scene.hear(hello);
  scene.said();
  scene.hear({ ...accept, inputNext: 7 }, { type: 'input', total: 7, writers: 5 }, { ...ack, next: 7 });
  scene.session.type(bytes('x'));
  assert.equal(scene.said().find((frame) => frame.type === 'data').offset, 7);
  assert.equal(scene.session.refused, false);
  scene.hear({ type: 'event', offset: 0, kind: 5, bytes: new Uint8Array(8) });
  assert.equal(scene.session.refused, true);
});

test('the end is acknowledged when all was drawn, and the session is complete', () => {
  const scene = new Scene();
  scene.attach();
  scene.said();
  scene.hear({ type: 'data', offset: 0, bytes: bytes('bye') }, { type: 'fin', length: 3 });
  assert.deepEqual(scene.said(), []);
  assert.equal(scene.session.phase, 'live');
  scene.draw();
  const said = scene.said();
  assert.deepEqual(said.map((frame) => frame.type), ['ack', 'fin']);
  assert.deepEqual([said[0].next, said[0].end, said[1].length], [3, true, 0]);
  assert.equal(scene.session.phase, 'ended');
  assert.deepEqual(scene.hear({ type: 'closed', reason: 2 }), { over: true });
  assert.equal(scene.session.words(0).why, 'The destination has closed the connection.');
});

test('a destination that was never reached is an end, too', () => {
  for (const [destination, why] of [[4, /refused/], [5, /in time/], [6, /name/]]) {
    const scene = new Scene();
    scene.attach({ destination: 0 });
    assert.equal(scene.session.phase, 'connecting');
    scene.said();
    scene.hear({ type: 'destination', destination });
    assert.deepEqual(scene.said().map((frame) => frame.type), ['ack', 'fin']);
    assert.match(scene.session.words(0).why, why);
  }
});

test('one that is taken over stays away', () => {
  const scene = new Scene();
  scene.attach();
  assert.deepEqual(scene.hear({ type: 'detached', reason: 1 }), { over: true });
  assert.equal(scene.session.phase, 'taken');
  assert.equal(scene.session.retryAt, null);
});

test('a refusal says whether to come again', () => {
  const refused = (frame) => {
    const scene = new Scene();
    scene.hear(hello);
    return [scene.hear({ type: 'reject', ...frame }), scene.session.phase];
  };
  assert.deepEqual(refused({ code: 2 }), [{ over: true }, 'ended']);
  assert.deepEqual(refused({ code: 3 }), [{ over: true }, 'ended']);
  assert.deepEqual(refused({ code: 4, seconds: 30 }), [{ lost: 30000 }, 'connecting']);
  assert.deepEqual(refused({ code: 7, seconds: 2 }), [{ lost: 2000 }, 'connecting']);
  assert.deepEqual(refused({ code: 6, base: 1, next: 2 }), [{ over: true }, 'taken']);
  assert.deepEqual(refused({ code: 9 }), [{ lost: 0 }, 'connecting']);
});

test('a server that says something else is left', () => {
  const scene = new Scene();
  assert.deepEqual(scene.hear(accept), { lost: 0 });
  const other = new Scene();
  other.hear(hello);
  assert.deepEqual(other.hear(hello), { lost: 0 });
});

test('a server that is silent is asked twice and left', () => {
  const scene = new Scene();
  scene.attach();
  scene.said();
  for (const now of [15000, 30000]) {
    scene.now = now - 1;
    assert.equal(scene.link.isSilent(scene.now), false);
    assert.deepEqual(scene.said(), []);
    scene.now = now;
    assert.equal(scene.link.deadline, now);
    assert.equal(scene.link.isSilent(scene.now), false);
    assert.deepEqual(scene.said().map((frame) => frame.type), ['ping']);
  }
  scene.now = 45000;
  assert.equal(scene.link.isSilent(scene.now), true);
  const answered = new Scene();
  answered.attach();
  answered.now = 44000;
  answered.hear({ type: 'ping', bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
  assert.equal(answered.link.isSilent(45000), false);
  assert.deepEqual(answered.said().find((frame) => frame.type === 'pong').bytes, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
});

test('commands are said only where there is somebody to hear them', () => {
  const scene = new Scene();
  assert.equal(scene.link.command('break'), false);
  assert.equal(scene.link.close(), false);
  scene.attach();
  scene.said();
  for (const name of ['ayt', 'break', 'interrupt']) assert.equal(scene.link.command(name), true);
  assert.equal(scene.link.close(), true);
  assert.deepEqual(scene.said().map(({ type, command }) => command ?? type), [1, 2, 3, 'close']);
});
