import { createHash } from 'node:crypto';
import type { NativeSampling } from '../binding/model.js';
import type { CallHash } from '../text/call_forms.js';

/**
 * What ids of an answer's calls are made of: the same request has the same ones, and another turn of a chat, whose prompt is longer,
 * has others.
 */
export function callHashOf(
  prompt: Int32Array,
  { seed, choice }: Pick<NativeSampling, 'seed' | 'choice'>,
): CallHash {
  return (call) =>
    createHash('sha256').update(prompt).update(`${seed} ${choice} ${call}`).digest('hex');
}
