// The connection to the server: it comes back by itself.

/** @import { Message, Request } from './protocol' */

/** Waits between attempts, in milliseconds. */
export const waits = [500, 1000, 2000, 4000, 8000];

/**
 * @param {object} o
 * @param {string} o.url
 * @param {(m: Message) => void} o.onMessage
 * @param {(conn: 'connecting' | 'open' | 'lost', retryAt: number) => void} o.onState
 * @param {(url: string) => WebSocket} [o.make]
 * @param {(fn: () => void, ms: number) => unknown} [o.later]
 * @param {() => number} [o.now]
 */
export function connect({ url, onMessage, onState, make = (u) => new WebSocket(u), later = setTimeout, now = Date.now }) {
  /** @type {WebSocket | null} */
  let socket = null;
  let attempt = 0;
  let id = 0;
  let closed = false;

  const open = () => {
    if (closed) return;
    onState('connecting', 0);
    const ws = make(url);
    socket = ws;
    ws.onopen = () => { attempt = 0; onState('open', 0); };
    ws.onmessage = (e) => onMessage(JSON.parse(e.data));
    ws.onclose = () => {
      if (socket !== ws || closed) return;
      socket = null;
      const wait = waits[Math.min(attempt++, waits.length - 1)];
      onState('lost', now() + wait);
      later(open, wait);
    };
  };
  open();

  return {
    /** Sends a request; its number, or 0 when there is no connection. @param {Request} request */
    send(request) {
      if (!socket || socket.readyState !== 1) return 0;
      socket.send(JSON.stringify({ id: ++id, ...request }));
      return id;
    },
    close() {
      closed = true;
      socket?.close();
    },
  };
}
