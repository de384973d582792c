// What is typed, where the destination does not echo: the page shows the line, lets it be mended, and sends it whole, as
// telnet's clients do. Where the destination echoes every key goes to it at once. No DOM.

const ERASE = '\b \b';

export class Typing {
  #line = [];

  /**
   * What comes of these keys, as the terminal reports them: `send`, text for the destination, and `show`, text for the
   * terminal. `local`: the page echoes.
   */
  keys(text, local) {
    if (!local) {
      const send = this.flush() + text;
      return { send, show: '' };
    }
    // The arrows and all other keys that are commands to a program have none here.
    const plain = text.replace(/\x1b(\[[0-9;?<>=]*[ -/]*[@-~]|O.|.)?/gsu, '');
    let send = '';
    let show = '';
    for (const key of plain) {
      if (key === '\r' || key === '\n') {
        send += `${this.#line.join('')}\r\n`;
        show += '\r\n';
        this.#line = [];
      } else if (key === '\x7f' || key === '\b') {
        show += this.#erase(1);
      } else if (key === '\x15') {
        show += this.#erase(this.#line.length);
      } else if (key === '\x03' || key === '\x04' || key === '\x1a') {
        send += this.flush() + key;
      } else if (key >= ' ') {
        this.#line.push(key);
        show += key;
      }
    }
    return { send, show };
  }

  /** The line as it is, which is then no longer ours. */
  flush() {
    const line = this.#line.join('');
    this.#line = [];
    return line;
  }

  #erase(count) {
    const gone = this.#line.splice(Math.max(0, this.#line.length - count), count);
    return gone.map((key) => ERASE.repeat(width(key))).join('');
  }
}

/** How many columns a letter takes, as far as it matters for rubbing it out. */
function width(key) {
  if (/\p{Mark}/u.test(key)) return 0;
  return /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u.test(key) ? 2 : 1;
}
