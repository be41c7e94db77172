// Commands that run a whole model and somebody who types: lines that end, Ctrl-C.
import { spawn } from 'node:child_process';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { nodeMoe, root, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

/** tiny-mixtral with a way to write chats. */
async function chatCheckpoint(): Promise<string> {
  const folder = await temporaryFolder();
  await cp(join(root, tinyMixtral), folder, { recursive: true });
  await writeFile(
    join(folder, 'chat_template.jinja'),
    '{% for message in messages %}{{ message.content }}\n{% endfor %}',
  );
  return folder;
}

describe('node-moe chat', { timeout: 30_000 }, () => {
  test('answers every line of a file and asks for none behind its end', async () => {
    const flags = ['--max-tokens', '5', '--temperature', '0', '--ignore-eos'];
    const child = spawn(
      process.execPath,
      ['dist/cli/main.js', 'chat', await chatCheckpoint(), ...flags],
      { cwd: root },
    );
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text) => {
        output[name] += text;
      });
    child.stdin.end('In the beginning\n/reset\nAnd God said\n');
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, output.stderr]).toEqual([0, '']);
    expect(output.stdout.match(/; 5 tokens at/g)).toHaveLength(2);
    expect(output.stdout.match(/^> |> $/gm)).toHaveLength(1);
  });
});

describe('node-moe perplexity', { timeout: 60_000 }, () => {
  test('ends at once with Ctrl-C, though the text is long', async () => {
    const text = join(await temporaryFolder(), 'long.txt');
    await writeFile(text, 'And God said, Let there be light: and there was light.\n'.repeat(2e5));
    const begun = performance.now();
    const finished = await nodeMoe(['perplexity', tinyMixtral, '--text', text], {}, 3000);
    expect(finished).toEqual({ code: 1, stdout: '', stderr: 'node-moe: interrupted\n' });
    // It takes a minute to make tokens of it.
    expect(performance.now() - begun).toBeLessThan(15_000);
  });
});
