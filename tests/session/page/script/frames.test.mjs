// The page's codec against the golden vectors of docs/protocol.md, and against what is no frame.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PREFACE, ProtocolError, Reader, encode, idBytes, join } from '../../../../src/session/web/page/frames.js';

const page = readFileSync(new URL('../../../../docs/protocol.md', import.meta.url), 'utf8');

/** `5a*16` stands for sixteen bytes `5a`. */
function bytes(text) {
  return Uint8Array.from(text.split(' ').flatMap((word) => {
    const [byte, count] = word.split('*');
    return Array(Number(count ?? 1)).fill(parseInt(byte, 16));
  }));
}

function vectors() {
  const [, section] = page.split('# Golden vectors of sessions');
  const [table] = section.split('Proofs for version 1');
  return [...table.matchAll(/^\| `([0-9a-f* ]+)` \| (.+) \|$/gm)].map(([, hex, what]) => ({ bytes: bytes(hex), what }));
}

function only(all) {
  const reader = new Reader();
  reader.push(all);
  const frame = reader.next();
  assert.equal(reader.next(), null);
  return frame;
}

test('the preface is as the page has it', () => {
  const [preface] = vectors();
  assert.match(preface.what, /^preface/);
  assert.deepEqual(PREFACE, preface.bytes);
});

test('each golden vector is read, and written again as it was', () => {
  const [, ...frames] = vectors();
  assert.ok(frames.length >= 31, `${frames.length} vectors`);
  for (const vector of frames) {
    const frame = only(vector.bytes);
    assert.equal(frame.type.toUpperCase(), vector.what.split(/[: ]/)[0], vector.what);
    assert.deepEqual(encode(frame), vector.bytes, vector.what);
  }
});

test('fields mean what the page says', () => {
  const find = (what) => only(vectors().find((vector) => vector.what.startsWith(what)).bytes);
  const hello = find('HELLO');
  assert.deepEqual([hello.maxPayload, hello.window, hello.heartbeat, hello.ttl], [16384, 256 * 1024, 15, 3600]);
  const resume = find('RESUME');
  assert.deepEqual([resume.next, resume.mode], [4096, 0]);
  const accept = find('ACCEPT: epoch 2');
  assert.deepEqual(
    [accept.epoch, accept.inputNext, accept.outputBase, accept.outputNext, accept.destination, accept.ends, accept.expires],
    [2, 5, 0, 4096, 1, 0, 3600],
  );
  assert.equal(accept.secret, undefined);
  assert.deepEqual(find('ACCEPT after NEW').secret, new Uint8Array(32).fill(0x77));
  assert.equal(new TextDecoder().decode(find('DATA').bytes), 'ok');
  assert.deepEqual([find('ACK: up to byte 5').end, find('ACK: up to byte 5').written], [true, 4]);
  assert.deepEqual([find('ACK: up to byte 4098').end, find('ACK: up to byte 4098').window], [false, 256 * 1024]);
  assert.deepEqual([find('EVENT').offset, find('EVENT').kind, find('EVENT').bytes[0]], [4098, 1, 1]);
  assert.deepEqual([find('RESIZE').columns, find('RESIZE').rows], [80, 24]);
});

test('frames come in pieces of any length', () => {
  const all = join(vectors().slice(1).map((vector) => vector.bytes));
  const whole = vectors().slice(1).map((vector) => only(vector.bytes));
  for (const size of [1, 2, 3, 5, 7, 64, 1000]) {
    const reader = new Reader();
    const read = [];
    for (let place = 0; place < all.length; place += size) {
      reader.push(all.subarray(place, place + size));
      for (let frame = reader.next(); frame; frame = reader.next()) read.push(frame);
    }
    assert.deepEqual(read, whole, `pieces of ${size}`);
  }
});

test('every vector that is cut short or too long is no frame', () => {
  for (const { bytes: right, what } of vectors().slice(1)) {
    const shorter = right.slice(0, -1);
    if (right.length === 4 || /^(DATA|APPEND|EVENT|REJECT|ACK)/.test(what)) continue;
    new DataView(shorter.buffer).setUint16(2, right.length - 5);
    assert.throws(() => only(shorter), ProtocolError, what);
    const longer = join([right, Uint8Array.of(0)]);
    new DataView(longer.buffer).setUint16(2, right.length - 3);
    assert.throws(() => only(longer), ProtocolError, what);
  }
});

test('what is not known is passed over from 80 on, and an error below', () => {
  const known = bytes('24 00 00 08 01 02 03 04 05 06 07 08');
  for (const skipped of ['f0 00 00 02 aa bb', 'f0 ff 00 00', '81 01 00 04 00 50 00 18']) {
    assert.equal(only(join([bytes(skipped), known])).type, 'ping', skipped);
  }
  for (const wrong of ['00 00 00 00', '26 00 00 00', '7f 00 00 00', '10 01 00 09 00*8 61', '11 02 00 0c 00*12',
    '10 00 00 08 00*8', '16 00 00 08 00*8', '15 00 00 01 07', '14 00 00 10 00*7 05 00*7 05', '80 00 00 0a 00*8 01 02', '12 00 00 08 ff*8',
    '06 00 00 01 00', '06 00 00 01 04', '11 00 00 10 00*16', '05 00 00 40 00*64']) {
    assert.throws(() => only(bytes(wrong)), ProtocolError, wrong);
  }
});

test('an id is 32 hexadecimal digits', () => {
  assert.deepEqual(idBytes('1d'.repeat(16)), new Uint8Array(16).fill(0x1d));
  for (const wrong of ['', '1d', 'x'.repeat(32), '1D'.repeat(16), '1d'.repeat(17)]) {
    assert.throws(() => idBytes(wrong), RangeError, wrong);
  }
});
