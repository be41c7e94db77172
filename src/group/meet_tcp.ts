import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../base/errors.js';
import { type Answer, hellosOf, type Meeting, millisecondsLeft, tooLate } from './meeting.js';
import { type Hello, Roster } from './roster.js';

/** A hello is a few hundred bytes and 24 for each rank, so a longer line comes from a stranger. */
const maxLineBytes = 1 << 20;
const retryMilliseconds = 100;

interface Place {
  host: string;
  port: number;
}

/** Meets the other ranks at rank 0, which listens at `tcp://host:port` until all have come. */
export function meetOverTcp(meeting: Meeting, place: Place): Promise<Hello[]> {
  return meeting.options.rank === 0 ? serve(meeting, place) : visit(meeting, place);
}

async function serve(meeting: Meeting, { host, port }: Place): Promise<Hello[]> {
  const address = meeting.options.address ?? (await lookup(host)).address;
  const roster = new Roster(meeting.helloAt(address));
  if (roster.complete !== undefined) return roster.complete;
  const server = createServer();
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new ConfigError(
      `Expected rank 0 to be able to listen at ${meeting.options.store.text}, got: ${(cause as Error).message}`,
      { cause },
    );
  }
  return await receive(meeting, server, roster);
}

/** Answers everybody at once when the last rank has come or time is up. */
async function receive(meeting: Meeting, server: Server, roster: Roster): Promise<Hello[]> {
  const sockets = new Set<Socket>();
  const waiting = new Set<Socket>();
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const late = roster.missing;
        for (const socket of waiting) answer(socket, { late });
        reject(tooLate(meeting, late));
      }, millisecondsLeft(meeting));
      const greet = async (socket: Socket): Promise<void> => {
        const hello = JSON.parse(await readLine(socket)) as unknown;
        const objection = roster.objection(hello);
        if (objection !== undefined) return answer(socket, { refused: objection });
        roster.add(hello as Hello);
        waiting.add(socket);
        socket.once('close', () => {
          waiting.delete(socket);
          roster.remove(hello as Hello);
        });
        const welcome = roster.complete;
        if (welcome === undefined) return;
        clearTimeout(timer);
        for (const other of waiting) answer(other, { welcome });
        resolve(welcome);
      };
      server.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('error', () => {}); // 'close' follows
        socket.once('close', () => sockets.delete(socket));
        greet(socket).catch(() => socket.destroy()); // it is a stranger
      });
    });
  } finally {
    server.close();
    for (const socket of sockets) if (!waiting.has(socket)) socket.destroySoon();
  }
}

function answer(socket: Socket, value: Answer): void {
  socket.end(`${JSON.stringify(value)}\n`);
}

/** Calls at rank 0 until it answers: it may not be there yet. */
async function visit(meeting: Meeting, place: Place): Promise<Hello[]> {
  let reason = '';
  for (;;) {
    try {
      return hellosOf(meeting, await call(meeting, place));
    } catch (error) {
      const { code } = error as { code?: string };
      if (code?.startsWith('ERR_MOE_')) throw error;
      reason = `: ${(error as Error).message}`;
    }
    if (millisecondsLeft(meeting) === 0) throw tooLate(meeting, [0], reason);
    await sleep(Math.min(retryMilliseconds, millisecondsLeft(meeting)));
  }
}

async function call(meeting: Meeting, { host, port }: Place): Promise<Answer> {
  const { address } = meeting.options;
  const socket = connect({ host, port, ...(address !== undefined && { localAddress: address }) });
  const timer = setTimeout(
    () => socket.destroy(new Error('no answer came in time')),
    millisecondsLeft(meeting),
  );
  try {
    await once(socket, 'connect');
    const hello = meeting.helloAt(address ?? plainAddress(socket.localAddress as string));
    socket.write(`${JSON.stringify(hello)}\n`);
    return JSON.parse(await readLine(socket)) as Answer;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** A dual-stack socket shows an IPv4 address as an IPv6 one, which peers without IPv6 cannot reach. */
function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}

/** Resolves to the first line that comes. */
function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
      else if (text.length > maxLineBytes) reject(new Error('a line that is too long'));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
}
