// The page's end of a session: what of the output was drawn, what of the input has arrived, when to connect again, and
// what to tell the user. It outlives its connections. No DOM, no network, no clock: the time comes with each call.

/** So much output may be under way to us: what the server sends beyond what we have drawn. */
export const WINDOW = 256 * 1024;
/** So much may be typed, or pasted, that has not arrived. */
export const MOST_INPUT = 16 * 1024 * 1024;
/** What is drawn is acknowledged after so many bytes, or so many milliseconds. */
const ACK_BYTES = 64 * 1024;
const ACK_WITHIN = 50;
/** A connection that lasted so long was a good one, and the next one is tried at once. */
const GOOD = 5000;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15000;
/** So long after the replay nobody can be typing into an echo that we have yet to hear of. */
const SETTLING = 250;

/** So many seconds of being away go unexplained: mostly it is back before that. */
const LATE = 2;

/** Why a session is over, in words. */
const ENDS = {
  eof: 'The destination has closed the connection.',
  reset: 'The connection to the destination broke.',
  refused: 'The destination refused the connection or cannot be reached.',
  timeout: 'The destination did not answer in time.',
  unresolved: 'The destination’s name is not known.',
  client: 'You ended it.',
  complete: 'All was said.',
  expired: 'Nobody came back in time.',
  administrator: 'The administrator ended it.',
  server: 'The session server has ended.',
  gone: 'It is no longer there.',
};

/** Why it waits for the user. */
const STOPS = {
  taken: ['Taken over', 'Another window has this session now.', 'Take over'],
  administrator: ['Away', 'The administrator disconnected this window.', 'Connect again'],
  broke: ['Away', 'The server did not understand this window.', 'Connect again'],
  range: ['Away', 'Some output is no longer kept.', 'Connect again'],
  version: ['Away', 'This page and the server do not fit; load it again.', 'Connect again'],
};

export class Session {
  /** connecting, live, away, taken (it waits for the user), ended. */
  phase = 'connecting';
  reason = '';
  destination = 'connecting';
  /** Whether the destination echoes or hides what is typed; undefined until it has said so. */
  echo = undefined;
  /** The user has asked for the end. */
  ending = false;
  /** Input that was dropped, since others had typed meanwhile; the page tells and clears it. */
  lost = 0;
  /** The destination takes no more input; the page tells and clears it. */
  refused = false;

  #now;
  #since;
  #connected = null;
  #failures = 0;
  #retryAt = null;
  #epoch = 0;
  #asked = 0;

  // Output: all below `expected` was given to the terminal, all below `drawn` it has drawn.
  #expected = null;
  #drawn = 0;
  #acked = 0;
  #ackSince = null;
  #end = null;
  #endDrawn = false;
  #replayUntil = 0;
  #settlesAt = null;

  // Input: bytes from `base` on; those below `sent` are under way. A connection numbers what it sends itself, from where the
  // input of all was when it came. `clients` counts what clients, one after the other, had sent before `base`; beside
  // them there may be writers, whose bytes are in the input as well.
  #queue = new Uint8Array(0);
  #base = 0;
  /** So many bytes from there were under way when a connection ended: whether they have arrived is not known. */
  #unsure = 0;
  #sent = 0;
  #granted = 0;
  #clients = 0;
  #writers = 0;
  /** What is to be done with what is under way, once the server has said how far the input is. */
  #settles = null;

  constructor(now) {
    this.#now = now;
    this.#since = now;
  }

  // --- connections ---

  /** Where the output is to go on, or null: with the oldest that there still is. */
  get resumeFrom() {
    return this.#expected === null ? null : this.#drawn;
  }

  get outputEnded() {
    return this.#end !== null;
  }

  /** A connection asks to be the session's. */
  asks() {
    this.#asked += 1;
  }

  /**
   * It is. `inputNext`: where the input goes on; `outputBase` and `outputNext`: what output there is; `epoch`: counts
   * those who came, 0 where the transport does not tell. `window`: so much input may be sent at once, at the place where it
   * was sent before; else it is known only with the first ACK.
   */
  attached(now, { inputNext, outputBase, outputNext, epoch, destination, fresh, window }) {
    const first = this.#expected === null;
    const others = epoch > 0 && (first ? !fresh : epoch > this.#epoch + this.#asked);
    if (first) {
      this.#expected = outputBase;
      this.#drawn = outputBase;
    }
    // The terminal's answers to what others have drawn, or a page before us, were given then.
    this.#replayUntil = others || (first && !fresh) ? outputNext : this.#replayUntil;
    this.#settlesAt = this.#expected >= this.#replayUntil ? now + SETTLING : null;
    this.#settles = { next: inputNext, total: inputNext, others: !first && others };
    this.#granted = 0;
    if (window !== undefined) this.#repeat(window, first);
    [this.#epoch, this.#asked] = [epoch, 0];
    this.#acked = this.#drawn;
    this.#ackSince = null;
    this.#connected = now;
    this.#retryAt = null;
    this.destinationIs(now, destination);
  }

  /** What became of the destination. */
  destinationIs(now, destination) {
    this.destination = destination;
    if (destination === 'connecting') this.#enter(now, 'connecting', 'destination');
    else if (destination === 'open') this.#enter(now, 'live', '');
    // It is over, and what it has said is still to be drawn.
    else this.#enter(now, 'connecting', 'last words');
  }

  /** What is under way is sent again at its place: there it is compared, and counts once. */
  #repeat(window, first) {
    // Where writers were beside us our numbers were not those of all.
    if (first || this.#writers > 0) this.#settleInput({ ...this.#settles, others: !first });
    this.#settles = null;
    this.#unsure = Math.max(this.#unsure, this.#sent - this.#base);
    this.#sent = this.#base;
    this.#granted = this.#base + window;
  }

  /** How far the input of all is, and how much of it writers have sent. */
  inputOfAll(total, writers) {
    this.#writers = writers;
    if (this.#settles) this.#settles.total = total;
  }

  /** What was under way and has not arrived is sent again, if it is certain that it has not. */
  #settleInput({ next, total, others }) {
    const clients = total - this.#writers;
    const underWay = this.#sent - this.#base;
    const arrived = clients - this.#clients;
    const certain = !others && arrived >= 0 && arrived <= underWay;
    if (!certain) this.lost += underWay;
    this.#queue = this.#queue.slice(certain ? arrived : underWay);
    this.#base = next;
    this.#sent = next;
    this.#unsure = 0;
    this.#clients = clients;
  }

  /** The connection has ended, or could not be made. `wait`: as many milliseconds at least before the next. */
  disconnected(now, wait = 0) {
    if (this.isStopped) return;
    if (this.#connected !== null && now - this.#connected >= GOOD) this.#failures = 0;
    const delay = this.#failures === 0 ? 0 : Math.min(FIRST_WAIT * 2 ** Math.min(this.#failures - 1, 10), LONGEST_WAIT);
    this.#failures += 1;
    this.#connected = null;
    this.#retryAt = now + Math.max(delay, wait);
    this.#enter(now, this.#expected === null ? 'connecting' : 'away', 'gateway');
  }

  /** A connection is made now. */
  asksNow() {
    this.#retryAt = null;
  }

  /** There is reason to believe that it is worth a try now: the network is back, or the user looks. */
  hurry(now) {
    if (this.#retryAt !== null) this.#retryAt = now;
  }

  /** It waits for the user: see `STOPS`. */
  stopped(now, reason) {
    if (this.phase === 'ended') return;
    this.#connected = null;
    this.#retryAt = null;
    this.#enter(now, 'taken', reason);
  }

  /** The user wants it back. */
  takeOver(now) {
    if (this.phase !== 'taken') return;
    if (this.reason === 'range') this.forgetOutput();
    this.#failures = 0;
    this.#enter(now, 'away', 'gateway');
    this.#retryAt = now;
  }

  /** It is over. What the destination did counts more than how the session went after that. */
  over(now, reason) {
    if (this.phase === 'ended') return;
    this.#connected = null;
    this.#retryAt = null;
    if (this.ending && reason === 'gone') reason = 'client';
    const known = this.#end !== null && ['complete', 'gone', 'expired'].includes(reason);
    this.#enter(now, 'ended', known ? this.#end.reason : reason);
  }

  get isStopped() {
    return this.phase === 'taken' || this.phase === 'ended';
  }

  get isConnected() {
    return this.#connected !== null;
  }

  /** When a connection is to be made, or null. */
  get retryAt() {
    return this.#retryAt;
  }

  /** All output is asked for again, to an empty screen. */
  forgetOutput() {
    this.#expected = null;
    this.#drawn = 0;
    this.#end = null;
    this.#endDrawn = false;
  }

  // --- output ---

  /**
   * Bytes of the output from `offset` on. Returns what the terminal has not had, and where that ends, or null. Throws if
   * something is missing before them.
   */
  output(now, offset, bytes) {
    const end = offset + bytes.length;
    if (offset > this.#expected) throw new RangeError('output is missing');
    if (end <= this.#expected) return null;
    const fresh = bytes.subarray(this.#expected - offset);
    this.#expected = end;
    if (this.#settlesAt === null && end >= this.#replayUntil) this.#settlesAt = now + SETTLING;
    return { bytes: fresh, end };
  }

  /** Some output is gone. */
  gap(to) {
    if (this.#drawn === this.#expected) this.#drawn = Math.max(this.#drawn, to);
    this.#expected = Math.max(this.#expected, to);
  }

  /** The output has come to its end, after so many bytes, or has never begun. */
  outputEnds(length, reason) {
    this.#end = { length: length ?? this.#expected, reason };
  }

  /** The terminal has drawn all below `end`. Acknowledges nothing that it only has been given. */
  drew(now, end) {
    if (end <= this.#drawn) return;
    this.#drawn = end;
    if (this.#ackSince === null) this.#ackSince = now;
  }

  /** Whether the output has ended and all of it was drawn, or there is none to come; asked before the end is acknowledged. */
  get endIsDrawn() {
    return this.#end !== null && this.#drawn >= this.#end.length;
  }

  /** The end was drawn and is acknowledged. */
  finish(now) {
    this.#endDrawn = true;
    if (this.phase !== 'ended') this.#enter(now, 'ended', this.#end.reason);
  }

  get endIsAcknowledged() {
    return this.#endDrawn;
  }

  /** Whether an acknowledgement is due: what was drawn and not told. */
  ackDue(now) {
    const news = this.#drawn - this.#acked;
    return news > 0 && (news >= ACK_BYTES || now - this.#ackSince >= ACK_WITHIN);
  }

  /** When it is due, or null. */
  get ackAt() {
    return this.#drawn > this.#acked && this.#ackSince !== null ? this.#ackSince + ACK_WITHIN : null;
  }

  /** What to acknowledge; it counts as told. */
  acknowledge() {
    this.#acked = this.#drawn;
    this.#ackSince = null;
    return this.#drawn;
  }

  /** Whether what the terminal draws was drawn before, so that its own answers must not be sent again. */
  get isReplaying() {
    return this.#expected === null || this.#drawn < this.#replayUntil;
  }

  /**
   * Whether the page shows what is typed: only if the destination does not. Undefined while the destination may have said
   * something about it in what has yet to come: a password stays hidden when the page is loaded again.
   */
  echoesLocally(now) {
    if (this.echo !== undefined) return !this.echo;
    return this.#settlesAt !== null && now >= this.#settlesAt ? true : undefined;
  }

  /** When the answer to that may change by itself, or null. */
  get settlesAt() {
    return this.echo === undefined ? this.#settlesAt : null;
  }

  // --- input ---

  /** Appends what was typed. False if there is no room, and nothing is appended. */
  type(bytes) {
    if (this.phase === 'ended' || this.#queue.length + bytes.length > MOST_INPUT) return false;
    const joined = new Uint8Array(this.#queue.length + bytes.length);
    joined.set(this.#queue);
    joined.set(bytes, this.#queue.length);
    this.#queue = joined;
    return true;
  }

  /** All below `next` of what this connection sends has arrived, and `window` bytes from there may be sent. */
  arrived(next, window) {
    if (this.#settles) {
      this.#settleInput(this.#settles);
      this.#settles = null;
    }
    const count = Math.max(0, Math.min(next, this.#sent) - this.#base);
    this.#queue = this.#queue.slice(count);
    this.#base += count;
    this.#clients += count;
    this.#granted = Math.max(this.#granted, next + window);
  }

  /** So many bytes were taken, and the next are to be sent at `next`: others may have sent some in between. */
  goOn(count, next, window) {
    this.#unsure = Math.max(0, this.#unsure - count);
    this.#queue = this.#queue.slice(count);
    this.#base = next;
    this.#sent = next;
    this.#granted = next + window;
  }

  /** Others have sent something else there. What was under way on a connection that ended may have come before it: it is not sent twice. */
  overtaken(next, window) {
    this.lost += this.#unsure;
    this.goOn(this.#unsure, next, window);
  }

  /** The next input to be sent, at most `most` bytes of it, or null. It counts as under way. */
  nextInput(most) {
    const end = Math.min(this.#base + this.#queue.length, this.#granted, this.#sent + most);
    if (end <= this.#sent) return null;
    const offset = this.#sent;
    const bytes = this.#queue.slice(offset - this.#base, end - this.#base);
    this.#sent = end;
    return { offset, bytes };
  }

  /** What is under way is to be sent again. */
  rewind() {
    this.#sent = this.#base;
  }

  /** The bytes that have not arrived. */
  get waiting() {
    return this.#queue.length;
  }

  /** Where the input ends that was sent. */
  get sent() {
    return this.#sent;
  }

  // --- what the user is told ---

  #enter(now, phase, reason) {
    if (this.phase !== phase) this.#since = now;
    this.phase = phase;
    this.reason = reason;
  }

  /** The word for the bar, the sentence behind it, the seconds if they count, and what the user can do about it. */
  words(now) {
    const seconds = Math.max(0, Math.floor((now - this.#since) / 1000));
    const late = seconds >= LATE;
    switch (this.phase) {
      case 'connecting': {
        if (this.reason === 'destination') return { status: 'Connecting', why: 'The destination has not answered yet.', seconds, action: '' };
        const why = 'The gateway cannot be reached, or has no room. It is tried again and again.';
        return { status: 'Connecting', why: late ? why : '', seconds, action: late ? 'Connect now' : '' };
      }
      case 'live': return { status: 'Live', why: '', seconds: null, action: '' };
      case 'away': {
        const why = 'The session goes on without you. What you type is sent when you are back.';
        return { status: 'Away', why: late ? why : '', seconds, action: late ? 'Connect now' : '' };
      }
      case 'taken': {
        const [status, why, action] = STOPS[this.reason] ?? STOPS.broke;
        return { status, why, seconds: null, action };
      }
      default: return { status: 'Ended', why: ENDS[this.reason] ?? ENDS.gone, seconds: null, action: 'New session' };
    }
  }
}
