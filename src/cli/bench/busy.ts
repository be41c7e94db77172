import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const sampleMilliseconds = 300;

/** The part of all processors' time that programs use now, from 0 to 1: this one only waits meanwhile. */
export async function busyFraction(): Promise<number> {
  const before = processorTimes();
  await sleep(sampleMilliseconds);
  const after = processorTimes();
  const total = after.total - before.total;
  return total === 0 ? 0 : 1 - (after.idle - before.idle) / total;
}

function processorTimes(): { idle: number; total: number } {
  let idle = 0;
  let total = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}
