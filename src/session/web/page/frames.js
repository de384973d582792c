// The frames of the session protocol, version 1, as docs/protocol.md has them: bytes in, objects out, and back.
// Knows nothing of sessions, connections or pages.

export const PREFACE = Uint8Array.of(0xd3, 0x53, 0x4b, 0x54, 0x00, 0x0d, 0x0a, 0x1a, 1, 1);
export const VERSION = 1;
export const OLDEST = 0xffffffffffffffffn;
export const MODE = { steal: 0, refuse: 1, observe: 2, input: 3 };
export const COMMAND = { ayt: 1, break: 2, interrupt: 3 };
export const DESTINATION = ['connecting', 'open', 'eof', 'reset', 'refused', 'timeout', 'unresolved'];
/** Besides the bytes, a DATA frame has eight of its offset. */
export const DATA_OFFSET = 8;

const HEADER = 4;
const LONGEST = 65535;
/** Types from here on may be passed over by those who do not know them. */
const OPTIONAL = 0x80;

/** What came is not the protocol. It costs the connection. */
export class ProtocolError extends Error {}

// The fields of each frame: a name and its size in bytes. 'u1' to 'u8' are numbers, 'b16' and 'b32' bytes, 'rest'
// is what is left.
const FRAMES = {
  hello: [0x01, 'version u1', 'boot b16', 'nonce b32', 'maxPayload u2', 'window u4', 'heartbeat u2', 'ttl u4'],
  new: [0x02, 'nonce b32', 'ttl u4'],
  resume: [0x03, 'id b16', 'boot b16', 'nonce b32', 'next u8', 'mode u1', 'mac b32'],
  confirm: [0x04, 'mac b32'],
  accept: [0x05, 'id b16', 'epoch u8', 'inputNext u8', 'outputBase u8', 'outputNext u8', 'destination u1', 'ends u1',
    'expires u4', 'rest'],
  reject: [0x06, 'code u1', 'rest'],
  data: [0x10, 'offset u8', 'rest'],
  ack: [0x11, 'next u8', 'window u4', 'rest'],
  fin: [0x12, 'length u8'],
  reset: [0x13, 'length u8', 'error u4'],
  gap: [0x14, 'from u8', 'to u8'],
  destination: [0x15, 'destination u1'],
  append: [0x16, 'offset u8', 'rest'],
  close: [0x20],
  closed: [0x21, 'reason u1'],
  detached: [0x22, 'reason u1'],
  goaway: [0x23, 'seconds u4'],
  ping: [0x24, 'bytes b8'],
  pong: [0x25, 'bytes b8'],
  event: [0x80, 'offset u8', 'kind u1', 'rest'],
  resize: [0x81, 'columns u2', 'rows u2'],
  command: [0x82, 'command u1'],
  input: [0x83, 'total u8', 'writers u8'],
  seen: [0x84, 'offset u8'],
};

const BY_TYPE = new Map();
for (const [name, [type, ...fields]] of Object.entries(FRAMES)) {
  const parsed = fields.filter((field) => field !== 'rest').map((field) => {
    const [key, form] = field.split(' ');
    return { key, number: form[0] === 'u', size: Number(form.slice(1)) };
  });
  const size = parsed.reduce((sum, field) => sum + field.size, 0);
  BY_TYPE.set(type, { name, type, fields: parsed, size, rest: fields.includes('rest') });
}

function wrong(why) {
  throw new ProtocolError(why);
}

/** What stands behind the fixed part of some frames. */
const REST = {
  accept(frame, rest) {
    if (rest.length !== 32 && rest.length !== 64) wrong('ACCEPT has another length');
    if (frame.ends > 3) wrong('ends that are not known');
    if (rest.length === 64) frame.secret = rest.slice(0, 32);
    frame.mac = rest.slice(-32);
  },
  reject(frame, rest) {
    const details = { 1: ['oldest u1', 'newest u1'], 4: ['seconds u4'], 5: ['seconds u4'], 6: ['base u8', 'next u8'], 7: ['seconds u4'] };
    if (frame.code > 9) {
      if (rest.length > 255) wrong('REJECT is too long');
      return;
    }
    let place = 0;
    const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
    for (const field of details[frame.code] ?? []) {
      const [key, form] = field.split(' ');
      const size = Number(form.slice(1));
      if (place + size > rest.length) wrong('REJECT has another length');
      frame[key] = number(view, place, size, key);
      place += size;
    }
    if (place !== rest.length || frame.code === 0) wrong('REJECT has another length');
  },
  data(frame, rest) {
    if (rest.length === 0) wrong('DATA without bytes');
    frame.bytes = rest.slice();
  },
  append(frame, rest) {
    if (rest.length === 0) wrong('APPEND without bytes');
    frame.bytes = rest.slice();
  },
  ack(frame, rest, flags) {
    if (rest.length !== 0 && rest.length !== 8) wrong('ACK has another length');
    frame.end = flags === 1;
    if (rest.length === 8) frame.written = number(new DataView(rest.buffer, rest.byteOffset, 8), 0, 8, 'written');
  },
  event(frame, rest) {
    if (rest.length > 64) wrong('EVENT is too long');
    const known = { 1: 1, 2: 1, 3: 0, 5: 8 }[frame.kind];
    if (known !== undefined && (rest.length !== known || (known === 1 && rest[0] > 1))) wrong('EVENT has another length');
    frame.bytes = rest.slice();
  },
};

/** Numbers up to 2^53, which no stream reaches; beyond is only the name of the oldest byte. */
function number(view, place, size, key) {
  if (size === 1) return view.getUint8(place);
  if (size === 2) return view.getUint16(place);
  if (size === 4) return view.getUint32(place);
  const value = view.getBigUint64(place);
  if (value === OLDEST && key === 'next') return OLDEST;
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) wrong('a number beyond all streams');
  return Number(value);
}

/** A frame of a known type from its payload. */
function parse(known, flags, payload) {
  if (flags !== 0 && !(known.name === 'ack' && flags === 1)) wrong('a flag that is not known');
  if (known.rest ? payload.length < known.size : payload.length !== known.size) wrong(`${known.name} has another length`);
  const frame = { type: known.name };
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  let place = 0;
  for (const { key, number: isNumber, size } of known.fields) {
    frame[key] = isNumber ? number(view, place, size, key) : payload.slice(place, place + size);
    place += size;
  }
  if (known.rest) REST[known.name](frame, payload.subarray(place), flags);
  if (frame.destination > 6) wrong('a destination that is not known');
  if (frame.mode > 3) wrong('a mode that is not known');
  if (known.name === 'gap' && frame.to <= frame.from) wrong('a gap of nothing');
  return frame;
}

/** Takes bytes as they come and gives frames. */
export class Reader {
  #bytes = new Uint8Array(0);

  push(bytes) {
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
  }

  /** The next frame that is there whole and of a known type, or null. */
  next() {
    while (this.#bytes.length >= HEADER) {
      const [type, flags, high, low] = this.#bytes;
      const length = (high << 8) | low;
      const known = BY_TYPE.get(type);
      if (!known && type < OPTIONAL) wrong('a frame that is not known');
      if (this.#bytes.length < HEADER + length) return null;
      const payload = this.#bytes.subarray(HEADER, HEADER + length);
      this.#bytes = this.#bytes.subarray(HEADER + length);
      const skipped = !known || (type >= OPTIONAL && flags !== 0);
      if (!skipped) return parse(known, flags, payload);
    }
    return null;
  }
}

function behind(frame) {
  switch (frame.type) {
    case 'accept': return join([frame.secret ?? new Uint8Array(0), frame.mac]);
    case 'data':
    case 'append':
    case 'event': return frame.bytes;
    case 'ack': return frame.written === undefined ? new Uint8Array(0) : bigEndian(frame.written, 8);
    case 'reject': {
      const { code, oldest, newest, seconds, base, next } = frame;
      if (code === 1) return Uint8Array.of(oldest, newest);
      if (code === 6) return join([bigEndian(base, 8), bigEndian(next, 8)]);
      return seconds === undefined ? new Uint8Array(0) : bigEndian(seconds, 4);
    }
    default: return new Uint8Array(0);
  }
}

function bigEndian(value, size) {
  const bytes = new Uint8Array(size);
  let rest = BigInt(value);
  for (let place = size - 1; place >= 0; place -= 1) {
    bytes[place] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** Several pieces as one. */
export function join(pieces) {
  const joined = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let place = 0;
  for (const piece of pieces) {
    joined.set(piece, place);
    place += piece.length;
  }
  return joined;
}

/** The bytes of a frame. */
export function encode(frame) {
  const [type] = FRAMES[frame.type];
  const { fields } = BY_TYPE.get(type);
  const fixed = fields.map(({ key, number: isNumber, size }) => (isNumber ? bigEndian(frame[key], size) : frame[key]));
  const payload = join([...fixed, behind(frame)]);
  if (payload.length > LONGEST) throw new RangeError(`${frame.type} is too long`);
  const flags = frame.type === 'ack' && frame.end ? 1 : 0;
  return join([Uint8Array.of(type, flags, payload.length >> 8, payload.length & 0xff), payload]);
}

/** 32 hexadecimal digits as the 16 bytes of an id. */
export function idBytes(text) {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new RangeError('not the id of a session');
  return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
}
