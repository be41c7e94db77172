// Which peers in which type of weights.
import { resolveDevice } from '../../dist/devices.js';
import { peerTypes } from './install.mjs';

/** The types of the peers' weights that come nearest to ours. onnxruntime-node's CPU provider has no 16-bit one. */
const nearestTypes = {
  float32: { 'onnxruntime-node': ['f32'], ggml: ['f32'], torch: ['f32'] },
  bfloat16: { 'onnxruntime-node': ['f32'], ggml: ['bf16'], torch: ['bf16'] },
  float16: { 'onnxruntime-node': ['f32'], ggml: ['f16'], torch: ['f16'] },
  int8: { 'onnxruntime-node': ['q8'], ggml: ['q8_0'], torch: ['bf16'] },
  int4: { 'onnxruntime-node': ['q4'], ggml: ['q4_0', 'q4_K'], torch: ['bf16'] },
};

/** @param peers those to take; `true`: every one of the device's kind, in the type nearest to ours */
export function choicesFor(peers, device, weightType) {
  if (peers !== true) return peers;
  const names = resolveDevice(device).backend === 'cpu' ? ['onnxruntime-node', 'ggml'] : ['torch'];
  return names.flatMap((name) => nearestTypes[weightType][name].map((type) => ({ name, type })));
}

export const peerHelp = Object.entries(peerTypes)
  .map(([name, types]) => `${name}:{${types.join(',')}}`)
  .join(' and ');

/** `name:type,...` as `{ name, type }` each. Throws where one is unknown. */
export function parsePeers(text) {
  return text.split(',').map((choice) => {
    const [name = '', type = ''] = choice.trim().split(':');
    const known = Object.hasOwn(peerTypes, name) && peerTypes[name].includes(type);
    if (!known) throw new Error(`Expected name:type of ${peerHelp}, got \`${choice}\``);
    return { name, type };
  });
}
