// The page's end of a session, with a server that is a few lines of test.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { MOST_INPUT, Session } from '../../../../src/session/web/page/session.js';

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);
const accept = { inputNext: 0, outputBase: 0, outputNext: 0, epoch: 1, destination: 'open', fresh: true };

function attached(changes = {}) {
  const session = new Session(0);
  session.asks();
  session.attached(0, { ...accept, ...changes });
  session.arrived(changes.inputNext ?? 0, 1000);
  return session;
}

/** Another connection after the last one was lost. */
function again(session, now, changes) {
  session.disconnected(now);
  session.asks();
  session.attached(now, { ...accept, ...changes });
  session.arrived(changes.inputNext ?? 0, 1000);
}

function sent(session) {
  let all = '';
  for (let input = session.nextInput(1000); input; input = session.nextInput(1000)) all += text(input.bytes);
  return all;
}

test('output is given once, whatever is repeated', () => {
  const session = attached();
  assert.equal(text(session.output(0, 0, bytes('hello')).bytes), 'hello');
  assert.equal(session.output(0, 0, bytes('hello')), null);
  const more = session.output(0, 3, bytes('lo, you'));
  assert.deepEqual([text(more.bytes), more.end], [', you', 10]);
  assert.throws(() => session.output(0, 11, bytes('x')), RangeError);
});

test('only what was drawn is acknowledged', () => {
  const session = attached();
  session.output(0, 0, bytes('hello'));
  assert.equal(session.ackDue(1000), false);
  assert.equal(session.ackAt, null);
  session.drew(100, 3);
  assert.equal(session.ackDue(149), false);
  assert.equal(session.ackAt, 150);
  assert.equal(session.ackDue(150), true);
  assert.equal(session.acknowledge(), 3);
  assert.equal(session.ackDue(10000), false);
  session.disconnected(200);
  assert.equal(session.resumeFrom, 3);
});

test('much that was drawn is acknowledged at once', () => {
  const session = attached();
  session.output(0, 0, new Uint8Array(70000));
  session.drew(0, 65535);
  assert.equal(session.ackDue(0), false);
  session.drew(0, 65536);
  assert.equal(session.ackDue(0), true);
});

test('a page that is loaded asks for all there is, and one that lives for what it has not drawn', () => {
  const session = new Session(0);
  assert.equal(session.resumeFrom, null);
  session.attached(0, { ...accept, outputBase: 500, outputNext: 600, fresh: false });
  assert.equal(session.resumeFrom, 500);
});

test('what the terminal answers to what it only draws again is not sent', () => {
  const loaded = new Session(0);
  assert.equal(loaded.isReplaying, true);
  loaded.attached(0, { ...accept, epoch: 3, outputNext: 5, fresh: false });
  assert.equal(loaded.isReplaying, true);
  loaded.output(0, 0, bytes('hello'));
  assert.equal(loaded.isReplaying, true);
  loaded.drew(0, 5);
  assert.equal(loaded.isReplaying, false);

  assert.equal(attached({ outputNext: 5 }).isReplaying, false, 'nobody has drawn that');
  const back = attached();
  again(back, 10, { epoch: 2, outputNext: 5 });
  assert.equal(back.isReplaying, false, 'nobody else was there');
  again(back, 20, { epoch: 9, outputNext: 5 });
  assert.equal(back.isReplaying, true, 'others have drawn it');
});

test('nothing typed is shown before it is known whether it may be', () => {
  const session = new Session(0);
  assert.equal(session.echoesLocally(1e9), undefined);
  session.attached(0, { ...accept, outputNext: 5, fresh: false });
  assert.equal(session.echoesLocally(1e9), undefined, 'the replay is to come');
  session.output(100, 0, bytes('hello'));
  assert.equal(session.echoesLocally(349), undefined);
  assert.equal(session.settlesAt, 350);
  assert.equal(session.echoesLocally(350), true);
  session.echo = true;
  assert.equal(session.echoesLocally(1e9), false);
  assert.equal(session.settlesAt, null);
  session.disconnected(400);
  again(session, 500, { epoch: 2, outputNext: 5 });
  assert.equal(session.echoesLocally(1e9), false);
  session.echo = false;
  assert.equal(session.echoesLocally(0), true);
});

test('input is sent within the window, and again from where it had arrived', () => {
  const session = attached();
  session.arrived(0, 4);
  assert.equal(session.type(bytes('hello')), true);
  session.arrived(0, 4);
  const narrow = new Session(0);
  narrow.attached(0, accept);
  narrow.type(bytes('hello'));
  assert.equal(narrow.nextInput(100), null, 'nothing before an ACK');
  narrow.arrived(0, 4);
  assert.deepEqual(narrow.nextInput(3), { offset: 0, bytes: bytes('hel') });
  assert.deepEqual(narrow.nextInput(3), { offset: 3, bytes: bytes('l') });
  assert.equal(narrow.nextInput(3), null);
  narrow.arrived(2, 100);
  assert.equal(narrow.waiting, 3);
  assert.equal(text(narrow.nextInput(100).bytes), 'o');
  again(narrow, 10, { inputNext: 3, epoch: 2 });
  assert.equal(sent(narrow), 'lo');
  assert.equal(narrow.lost, 0);
});

test('what is typed while away is kept', () => {
  const session = attached();
  session.disconnected(0);
  session.type(bytes('ls\r'));
  assert.equal(session.waiting, 3);
  session.asks();
  session.attached(10, { ...accept, epoch: 2 });
  session.arrived(0, 100);
  assert.equal(sent(session), 'ls\r');
});

test('what is typed while a session is found goes behind what is there', () => {
  const session = new Session(0);
  session.type(bytes('x'));
  session.attached(0, { ...accept, inputNext: 40, epoch: 7, fresh: false });
  session.arrived(40, 100);
  assert.deepEqual(session.nextInput(10), { offset: 40, bytes: bytes('x') });
  assert.equal(session.lost, 0);
});

test('what others may have typed over is not sent again, and told', () => {
  for (const changes of [{ inputNext: 9, epoch: 2 }, { inputNext: 2, epoch: 5 }, { inputNext: 3, epoch: 9 }]) {
    const session = attached();
    session.type(bytes('abc'));
    assert.equal(sent(session), 'abc');
    session.type(bytes('def'));
    again(session, 10, changes);
    assert.equal(session.lost, 3, JSON.stringify(changes));
    assert.deepEqual(session.nextInput(10), { offset: changes.inputNext, bytes: bytes('def') });
  }
});

test('a connection whose answer was lost is none of others', () => {
  const session = attached();
  session.type(bytes('abc'));
  sent(session);
  session.disconnected(0);
  session.asks();
  session.disconnected(0);
  again(session, 0, { inputNext: 1, epoch: 3 });
  assert.equal(session.lost, 0);
  assert.equal(sent(session), 'bc');
});

test('writers beside us take nothing of what waits, and their bytes do not count as ours', () => {
  const session = attached();
  session.type(bytes('abc'));
  session.nextInput(2);
  session.inputOfAll(6, 4);
  session.arrived(2, 100);
  assert.equal(sent(session), 'c');
  // Five of them arrived meanwhile, and our last byte did not.
  session.disconnected(0);
  session.asks();
  session.attached(0, { ...accept, inputNext: 11, epoch: 2 });
  session.inputOfAll(11, 9);
  session.arrived(11, 100);
  assert.equal(session.lost, 0);
  assert.deepEqual(session.nextInput(10), { offset: 11, bytes: bytes('c') });
});

test('where it is compared what was under way is sent again at its place', () => {
  const session = new Session(0);
  const polls = { ...accept, epoch: 0, window: 1000 };
  session.attached(0, { ...polls, inputNext: 40, fresh: false });
  session.type(bytes('abc'));
  assert.equal(session.nextInput(10).offset, 40);
  session.disconnected(0);
  session.attached(0, { ...polls, inputNext: 43 });
  assert.deepEqual(session.nextInput(10), { offset: 40, bytes: bytes('abc') });
  session.goOn(3, 43, 1000);
  session.type(bytes('d'));
  assert.equal(session.nextInput(10).offset, 43);
  session.overtaken(50, 1000);
  assert.deepEqual(session.nextInput(10), { offset: 50, bytes: bytes('d') }, 'nothing was taken of it');
  assert.equal(session.lost, 0);
});

test('what may have arrived is not sent twice when others were there in between', () => {
  const session = new Session(0);
  const polls = { ...accept, epoch: 0, window: 1000 };
  session.attached(0, { ...polls, inputNext: 40, fresh: false });
  session.type(bytes('abcdef'));
  assert.equal(session.nextInput(4).offset, 40);
  // The answer is lost; only some of them were taken.
  session.disconnected(0);
  session.attached(0, { ...polls, inputNext: 45 });
  assert.deepEqual(session.nextInput(2), { offset: 40, bytes: bytes('ab') });
  session.goOn(2, 42, 1000);
  session.nextInput(4);
  session.overtaken(45, 1000);
  assert.equal(session.lost, 2, 'c and d');
  assert.deepEqual(session.nextInput(10), { offset: 45, bytes: bytes('ef') });
});

test('input has a limit', () => {
  const session = attached();
  assert.equal(session.type(new Uint8Array(MOST_INPUT)), true);
  assert.equal(session.type(new Uint8Array(1)), false);
  assert.equal(session.waiting, MOST_INPUT);
});

test('it connects again at once after a good connection, and then later and later', () => {
  const session = attached();
  const waits = [];
  let now = 5000;
  session.disconnected(now);
  for (let round = 0; round < 10; round += 1) {
    waits.push(session.retryAt - now);
    now = session.retryAt;
    session.asksNow();
    session.disconnected(now);
  }
  assert.deepEqual(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  session.hurry(now);
  assert.equal(session.retryAt, now);
  assert.equal(session.phase, 'away');
});

test('it waits as long as the server says', () => {
  const session = attached();
  session.disconnected(0, 30000);
  assert.equal(session.retryAt, 30000);
});

test('one that was taken over does not come back by itself', () => {
  const session = attached();
  session.stopped(0, 'taken');
  session.disconnected(10);
  session.hurry(20);
  assert.equal(session.retryAt, null);
  assert.deepEqual(session.words(20), { status: 'Taken over', why: 'Another window has this session now.', seconds: null, action: 'Take over' });
  session.takeOver(30);
  assert.equal(session.retryAt, 30);
});

test('one that is over stays so, and says why', () => {
  for (const [reason, words] of [['eof', /closed the connection\.$/], ['reset', /broke/], ['refused', /refused/], ['timeout', /in time/],
    ['unresolved', /name/], ['expired', /^Nobody came back/], ['administrator', /administrator/], ['server', /server/], ['gone', /no longer/]]) {
    const session = attached();
    session.over(0, reason);
    session.disconnected(0);
    assert.equal(session.retryAt, null);
    assert.equal(session.type(bytes('x')), false);
    const { status, why, action } = session.words(0);
    assert.deepEqual([status, action], ['Ended', 'New session']);
    assert.match(why, words);
  }
});

test('the end of the output is acknowledged when all of it is drawn', () => {
  const session = attached();
  session.output(0, 0, bytes('bye'));
  session.outputEnds(3, 'eof');
  assert.equal(session.endIsDrawn, false);
  session.drew(0, 3);
  assert.equal(session.endIsDrawn, true);
  session.finish(0);
  session.over(0, 'complete');
  assert.equal(session.reason, 'eof');
});

test('an end that was asked for is told as one', () => {
  const session = attached();
  session.ending = true;
  session.over(0, 'gone');
  assert.equal(session.words(0).why, 'You ended it.');
});

test('what the destination did counts more than how the session went', () => {
  const session = attached();
  session.outputEnds(null, 'refused');
  session.over(0, 'gone');
  assert.equal(session.reason, 'refused');
});

test('a gap is gone over', () => {
  const session = attached();
  session.output(0, 0, bytes('abc'));
  session.drew(0, 3);
  session.gap(10);
  assert.equal(session.resumeFrom, 10);
  assert.equal(text(session.output(0, 10, bytes('d')).bytes), 'd');
});

test('it says since when it is away', () => {
  const session = attached();
  session.disconnected(1000);
  session.disconnected(2000);
  assert.deepEqual(session.words(2999), { status: 'Away', why: '', seconds: 1, action: '' });
  const { status, why, seconds, action } = session.words(8500);
  assert.deepEqual([status, seconds, action], ['Away', 7, 'Connect now']);
  assert.match(why, /goes on without you/);
  session.attached(9000, { ...accept, epoch: 2, destination: 'connecting' });
  assert.match(session.words(9000).why, /destination has not answered/);
  session.destinationIs(9100, 'open');
  assert.deepEqual([session.words(9100).status, session.words(9100).seconds], ['Live', null]);
});
