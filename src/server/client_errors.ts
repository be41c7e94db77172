import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ApiError } from './errors.js';

/** What no request could be made of, by Node's code: status and message. */
const known: Record<string, [status: number, message: string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time'],
  HPE_HEADER_OVERFLOW: [431, 'The head of the request is too large'],
};

/** Answers bytes that are no request in the form of all errors. */
export function answerClientError({ code = '' }: NodeJS.ErrnoException, socket: Socket): void {
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = known[code] ?? [400, 'These bytes are no HTTP request'];
  const body = JSON.stringify(new ApiError(status, 'invalid_request_error', message).body);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\n`;
  const type = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}${type}\r\n\r\n${body}`);
}
