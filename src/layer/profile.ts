import type { NativeLayer } from '../binding/native.js';

/** Layers whose times nobody has seen yet, and what to call them. */
const unseen = new Map<NativeLayer, string>();

/** Whether layers take the times of their stages. */
export const profiling = (): boolean => !['', '0'].includes(process.env['MOE_PROFILE'] ?? '');

/** Prints the layer's times when the process ends, if `printProfile` has not by then. */
export function keepProfile(layer: NativeLayer, title: string): void {
  if (unseen.size === 0) process.on('exit', printAll);
  unseen.set(layer, title);
}

/** Prints how often each stage of a layer that was kept has run, and how long it took; once, and nothing if none has. */
export function printProfile(layer: NativeLayer): void {
  const title = unseen.get(layer);
  if (!unseen.delete(layer)) return;
  if (unseen.size === 0) process.off('exit', printAll);
  const ran = layer.profile.filter(({ count }) => count > 0);
  if (ran.length === 0) return;
  const line = (...[stage, ...numbers]: string[]) =>
    `${stage?.padEnd(10)}${numbers.map((number) => number.padStart(12)).join('')}\n`;
  const lines = ran.map(({ stage, count, seconds }) =>
    line(stage, `${count}`, (seconds * 1e3).toFixed(3), ((seconds * 1e3) / count).toFixed(4)),
  );
  process.stderr.write(
    `node-moe: times of ${title}\n${line('stage', 'count', 'total ms', 'mean ms')}${lines.join('')}`,
  );
}

function printAll(): void {
  for (const layer of [...unseen.keys()]) printProfile(layer);
}
