import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { errorCodes } from '../../src/base/errors.js';
import { loadNative, type NativeBinding } from '../../src/binding/native.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

const run = promisify(execFile);
const addonPath =
  process.env['MOE_ADDON'] ?? join(import.meta.dirname, '../../build/Release/moe.node');

describe('the addon', () => {
  test('exports what NativeBinding declares, and no more', () => {
    const declared: Record<keyof NativeBinding, string> = {
      buildId: 'string',
      errorCodes: 'object',
      devices: 'function',
      addPluginFolder: 'function',
      mapFile: 'function',
      createLayer: 'function',
      createModel: 'function',
      Group: 'function',
      Cancellation: 'function',
      measureMachinePeak: 'function',
    };
    const exported = Object.entries(loadNative()).map(([name, value]) => [name, typeof value]);
    expect(Object.fromEntries(exported)).toEqual(declared);
  });

  test('names its version and the interface that plugins must have been built with', () => {
    expect(loadNative().buildId).toMatch(/^node-moe \d+\.\d+\.\d+ [\da-f]{12}$/);
  });

  test('has the error codes of errors.ts, in order', () => {
    expect(loadNative().errorCodes).toEqual([...errorCodes]);
  });

  test('refuses what is no layer, file or call, and the process lives', async () => {
    const binding = loadNative() as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const args of [
      [],
      ['cpu'],
      ['cpu', 0, {}, {}],
      ['cpu', 0, { moe: 3 }, { experts: [1] }],
      [1, 2, 3, 4],
    ])
      expect(() => binding['createLayer']?.(...args)).toThrow();
    for (const args of [[], ['cpu'], ['cpu', 0, 3], ['cpu', 0, {}], [1, 2, 3]])
      expect(() => binding['createModel']?.(...args)).toThrow(/Expected/);
    expect(() => binding['mapFile']?.(7)).toThrow(/path/);
    expect(() => binding['addPluginFolder']?.(7)).toThrow(/folder/);
    expect(() => binding['mapFile']?.('/nowhere/at/all')).toThrow(
      /\/nowhere\/at\/all: No such file/,
    );
    expect(() => binding['mapFile']?.(import.meta.dirname)).toThrow(/not a regular file/);
  });

  test('two copies live side by side', async () => {
    const copy = join(await temporaryFolder(), 'copy.node');
    cpSync(addonPath, copy);
    const other: NativeBinding = createRequire(import.meta.url)(copy);
    expect(other).not.toBe(loadNative());
    expect(other.devices().at(-1)?.name).toBe('cpu');
    const [first, second] = await Promise.all([
      loadNative().measureMachinePeak(1, 0.02),
      other.measureMachinePeak(1, 0.02),
    ]);
    expect(first.gflops).toBeGreaterThan(0);
    expect(second.gigabytesPerSecond).toBeGreaterThan(0);
  });

  test('workers use it at once, and may be ended in the middle of a call', {
    timeout: 60_000,
  }, async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData);
      addon.measureMachinePeak(1, 0.2).then(({ gflops }) => parentPort.postMessage(gflops));
      parentPort.postMessage('started');`;
    const ended = Array.from({ length: 8 }, async (_, index) => {
      const worker = new Worker(source, { eval: true, workerData: addonPath });
      const messages: unknown[] = [];
      worker.on('message', (message) => {
        messages.push(message);
        if (message === 'started' && index % 2 === 1) void worker.terminate();
        else if (typeof message === 'number') void worker.terminate();
      });
      await new Promise((resolve) => worker.once('exit', resolve));
      return messages;
    });
    const messages = await Promise.all(ended);
    for (const [index, list] of messages.entries())
      if (index % 2 === 0) expect(list.some((message) => (message as number) > 0)).toBe(true);
  });

  test.each(['calls', 'failures', 'exit', 'progress'])(
    'workers that end in the middle of %s do not take the process with them',
    { timeout: 60_000 },
    async (kind) => {
      const { stdout } = await run(process.execPath, ['test/fixtures/ending_workers.mjs', kind], {
        cwd: join(import.meta.dirname, '../..'),
      });
      expect(stdout).toBe('all ended\n');
    },
  );
});

describe('memory', () => {
  test('layers dropped without close are freed, and V8 knows what they weigh', {
    timeout: 60_000,
  }, async () => {
    const { stdout } = await run(
      process.execPath,
      ['--expose-gc', 'scripts/stress.mjs', '--scale', '0.1'],
      {
        cwd: join(import.meta.dirname, '../..'),
      },
    );
    expect(stdout).toMatch(/grew by/);
  });
});
