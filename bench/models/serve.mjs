// What a contestant's program does: it waits for commands on stdin, one line each, and answers each with one line of JSON.
import { createInterface } from 'node:readline';

/** @param commands by name: `(...words) => answer` */
export async function serve(commands) {
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...words] = line.split(' ');
    console.log(JSON.stringify(await commands[command](...words)));
  }
}

/** Times calls for about `seconds`, at least one: `call` gives the milliseconds that count. */
export async function timed(call, seconds) {
  const milliseconds = [];
  const end = performance.now() + seconds * 1e3;
  do milliseconds.push(await call());
  while (performance.now() < end);
  return { milliseconds };
}
