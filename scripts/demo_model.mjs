// Lets the whole tiny-mixtral write, from the command line and through a server, and shows that both give the same text. Exits with 1
// when they do not.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { bold, dim } from '../dist/cli/text.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const checkpoint = 'test/data/tiny-mixtral';
const command = [process.execPath, 'dist/cli/main.js'];

/** What the model is to go on with, and how. */
const wanted = [
  {
    name: 'Bible',
    prompt: 'And the LORD said unto Moses, ',
    maxTokens: 120,
    temperature: 0.6,
    seed: 1,
  },
  {
    name: 'Python',
    prompt: 'class Tokenizer:\n    def ',
    maxTokens: 120,
    temperature: 0.4,
    seed: 2,
  },
];

/** What `node-moe generate` writes. */
function generate({ prompt, maxTokens, temperature, seed }) {
  const flags = { prompt, 'max-tokens': maxTokens, temperature, seed };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const [program, ...rest] = command;
  const { status, stdout, stderr } = spawnSync(
    program,
    [...rest, 'generate', checkpoint, ...args],
    {
      cwd: root,
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(stderr);
  return { text: stdout.replace(/\n$/, ''), speed: stderr.trim() };
}

/** Runs `use` with the address of `node-moe serve`, which is then told to end. */
async function withServer(use) {
  const [program, ...rest] = command;
  const server = spawn(program, [...rest, 'serve', checkpoint, '--port', '0'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let url;
    for await (const line of createInterface({ input: server.stdout })) {
      url ??= /^listening on (\S+)/.exec(line)?.[1];
      if (line === 'ready') break;
    }
    if (url === undefined) throw new Error('The server ended before it listened');
    await use(url);
  } finally {
    server.kill('SIGTERM');
    if (server.exitCode === null) await once(server, 'exit');
  }
}

/** The same from the server, streamed, all at once. */
async function streamed(url) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none' });
  return Promise.all(
    wanted.map(async ({ prompt, maxTokens, temperature, seed }) => {
      const stream = await client.completions.create({
        ...{ model: 'tiny-mixtral', prompt, temperature, seed, stream: true },
        max_tokens: maxTokens,
      });
      let text = '';
      for await (const { choices } of stream) text += choices[0]?.text ?? '';
      return text;
    }),
  );
}

process.stdout.write(`\n${bold('The whole model: text in, text out')}\n`);
const written = wanted.map(generate);
for (const [index, { text, speed }] of written.entries()) {
  const { name, prompt } = wanted[index];
  const shown = `${dim(prompt)}${text}`.replace(/^/gm, '  ');
  process.stdout.write(`\n${name}, ${dim(speed)}\n${shown}\n`);
}
let same = false;
await withServer(async (url) => {
  const texts = await streamed(url);
  same = texts.every((text, index) => text === written[index].text);
  process.stdout.write(
    `\nServed at ${url} and asked for both at once by the openai package: ${bold(same ? 'the same text, bit for bit.' : 'ANOTHER TEXT.')}\n`,
  );
});
process.stdout.write(
  [
    '',
    'Next:',
    `  node dist/cli/main.js generate ${checkpoint} --prompt 'In the beginning'`,
    `  node dist/cli/main.js serve ${checkpoint} --port 8080`,
    '',
  ].join('\n'),
);
process.exitCode = same ? 0 : 1;
