// The trained model calibrated by text that it was trained on, as the command line does it.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { temporary, trained, trainedText } from './trained.mjs';

const program = resolve(import.meta.dirname, '../../dist/cli/main.js');
const run = (...options) => execFileSync(process.execPath, [program, ...options]);

/** Its recorded activations. */
export function recording() {
  const out = temporary('recorded.safetensors');
  if (!existsSync(out))
    run('record', trained, '--text', trainedText, '--max-tokens', '18432', '--out', out);
  return out;
}

/** The whole model in int4, packed. */
export function packedInt4({ weightGroup, activationType = 'float' }) {
  const out = temporary(`int4-${weightGroup}-${activationType}`);
  if (existsSync(out)) return out;
  run(
    ...['pack', trained, '--weight-type', 'int4', '--weight-group', String(weightGroup)],
    ...['--activation-type', activationType, '--output-type', 'bfloat16'],
    ...['--calibrate', recording(), '--out', out],
  );
  return out;
}
