// What is typed with and without local echo, and streams of events in pieces.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { EventParser } from '../../../../src/session/web/page/transport.js';
import { Typing } from '../../../../src/session/web/page/typing.js';

test('where the destination echoes every key goes at once and nothing is shown', () => {
  const typing = new Typing();
  assert.deepEqual(typing.keys('l', false), { send: 'l', show: '' });
  assert.deepEqual(typing.keys('\x1b[A', false), { send: '\x1b[A', show: '' });
  assert.deepEqual(typing.keys('\r', false), { send: '\r', show: '' });
});

test('where it does not a line is shown, mended and sent whole', () => {
  const typing = new Typing();
  assert.deepEqual(typing.keys('l', true), { send: '', show: 'l' });
  assert.deepEqual(typing.keys('sx', true), { send: '', show: 'sx' });
  assert.deepEqual(typing.keys('\x7f', true), { send: '', show: '\b \b' });
  assert.deepEqual(typing.keys('\x1b[A\x1bOB\x1b[1;5C', true), { send: '', show: '' });
  assert.deepEqual(typing.keys('\r', true), { send: 'ls\r\n', show: '\r\n' });
  assert.deepEqual(typing.keys('\x7f', true), { send: '', show: '' });
});

test('a line can be thrown away, and wide letters take two columns with them', () => {
  const typing = new Typing();
  typing.keys('ab', true);
  assert.deepEqual(typing.keys('\x15', true), { send: '', show: '\b \b\b \b' });
  typing.keys('漢', true);
  assert.deepEqual(typing.keys('\x7f', true), { send: '', show: '\b \b\b \b' });
  assert.deepEqual(typing.keys('x\r', true), { send: 'x\r\n', show: 'x\r\n' });
});

test('several lines that are pasted are several lines', () => {
  assert.deepEqual(new Typing().keys('a\rb\rc', true), { send: 'a\r\nb\r\n', show: 'a\r\nb\r\nc' });
});

test('a line that was begun goes first when the destination echoes from now on', () => {
  const typing = new Typing();
  typing.keys('half', true);
  assert.deepEqual(typing.keys('x', false), { send: 'halfx', show: '' });
  typing.keys('half', true);
  assert.deepEqual(typing.keys('\x03', true), { send: 'half\x03', show: '' });
  typing.keys('half', true);
  assert.equal(typing.flush(), 'half');
  assert.equal(typing.flush(), '');
});

test('events come in pieces of any length', () => {
  const stream = 'retry: 200\nid: 3\n\n:\n\nevent: output\nid: 8\ndata: aGVsbG8=\n\nevent: end\r\ndata: {"destination":"eof"}\r\n\r\n';
  const expected = [{ type: 'output', id: '8', data: 'aGVsbG8=' }, { type: 'end', id: '8', data: '{"destination":"eof"}' }];
  for (const size of [1, 2, 3, 7, 1000]) {
    const parser = new EventParser();
    const events = [];
    for (let place = 0; place < stream.length; place += size) events.push(...parser.push(stream.slice(place, place + size)));
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});
