import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  DeviceInfo,
  DeviceName,
  ForwardResult,
  LayerOptions,
  Routing,
} from '../../src/index.js';

const root = join(import.meta.dirname, '../..');

/** A chip, and the release of CANN it is tried with. */
export interface Profile {
  soc: string;
  cann: '8.1' | '8.5' | '9.1';
}

/** Where the simulated CANN of a release is, or undefined where `npm run test:native` has not built it. */
export function simulatedCann(release: string): string | undefined {
  return ['build/test', 'build/lead']
    .map((folder) => join(root, folder, `ascend/cann-${release}`))
    .find((folder) => existsSync(folder));
}

export type Result = ForwardResult & { device: string; routing: Routing };
export type Outcome = Result | { code: string; message: string };

/** A process of its own with a simulated device, since a process has one CANN. */
export class AscendProcess {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ascend-'));
  readonly #child: ChildProcess;
  #asked = 0;

  constructor({ soc, cann }: Profile, env: Record<string, string> = {}) {
    this.#child = fork(join(import.meta.dirname, 'ascend_child.mjs'), {
      serialization: 'advanced',
      env: {
        ...process.env,
        ASCEND_HOME_PATH: simulatedCann(cann) ?? 'not built',
        ASCEND_SIM_SOC: soc,
        ASCEND_SIM_REPORT: join(this.#folder, 'report'),
        ...env,
      },
    });
  }

  #ask(question: object): Promise<unknown> {
    const id = this.#asked++;
    return new Promise((settle, fail) => {
      const stop = () => {
        this.#child.off('message', receive);
        this.#child.off('exit', end);
      };
      const receive = (answer: { id: number; reply: unknown }) => {
        if (answer.id !== id) return;
        stop();
        settle(answer.reply);
      };
      const end = (code: number | null, signal: string | null) => {
        stop();
        fail(new Error(`the process ended with ${code ?? signal}`));
      };
      this.#child.on('message', receive);
      this.#child.on('exit', end);
      this.#child.send({ id, ...question });
    });
  }

  devices(): Promise<DeviceInfo> {
    return this.#ask({ ask: 'devices' }) as Promise<DeviceInfo>;
  }

  /** Makes the layer on the device and runs the batch. */
  forward(
    options: LayerOptions,
    hidden: Float32Array,
    device: DeviceName = 'ascend',
  ): Promise<Outcome> {
    const question = { ask: 'forward', options: { ...options, device }, hidden };
    return this.#ask(question) as Promise<Outcome>;
  }

  /** Ends the process. Returns what it broke of CANN's rules and what it never gave back, as sentences. */
  async close(): Promise<string> {
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    const [code] = await ended;
    const file = join(this.#folder, 'report');
    const report = existsSync(file) ? readFileSync(file, 'utf8') : 'no report was written\n';
    rmSync(this.#folder, { recursive: true });
    return code === 0 ? report : `${report}the process ended with ${code}\n`;
  }
}
