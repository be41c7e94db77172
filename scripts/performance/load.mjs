// How long layers take to load: from a bfloat16 checkpoint in every type of weights, and from files packed before.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSafetensors } from '../../dist/checkpoint/containers/write.js';
import { MoELayer } from '../../dist/index.js';

const rounds = 5;
const [hidden, intermediate, experts] = [2048, 1024, 16];

export async function measureLoad() {
  const folder = mkdtempSync(join(tmpdir(), 'node-moe-load-'));
  try {
    const bytes = await writeCheckpoint(folder);
    const results = { hidden, intermediate, experts, bytes, cases: [] };
    results.read = await medianOf(() => readFile(join(folder, 'model.safetensors')));
    for (const weightType of ['float32', 'bfloat16', 'int8', 'int4']) {
      const packed = join(folder, `${weightType}.safetensors`);
      execFileSync(process.execPath, [
        ...['dist/cli/main.js', 'pack', folder, '--weight-type', weightType, '--out', packed],
      ]);
      results.cases.push({
        weightType,
        checkpoint: await timeLoad(folder, { weightType }),
        packed: await timeLoad(packed, {}),
      });
    }
    return results;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Milliseconds. */
function timeLoad(path, options) {
  return medianOf(
    () => MoELayer.load(path, { layer: 0, ...options }),
    (layer) => layer.close(),
  );
}

async function medianOf(work, after = () => {}) {
  const times = [];
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    const result = await work();
    times.push(performance.now() - started);
    await after(result);
  }
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)];
}

/** A layer as Mixtral's checkpoints name it; bytes of its file. */
async function writeCheckpoint(folder) {
  const matrix = (...shape) => ({ dtype: 'BF16', shape, data: randomBits(shape[0] * shape[1]) });
  const tensors = { 'model.layers.0.block_sparse_moe.gate.weight': matrix(experts, hidden) };
  for (let expert = 0; expert < experts; expert++) {
    const name = `model.layers.0.block_sparse_moe.experts.${expert}`;
    tensors[`${name}.w1.weight`] = matrix(intermediate, hidden);
    tensors[`${name}.w3.weight`] = matrix(intermediate, hidden);
    tensors[`${name}.w2.weight`] = matrix(hidden, intermediate);
  }
  const config = {
    model_type: 'mixtral',
    architectures: ['MixtralForCausalLM'],
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_local_experts: experts,
    num_experts_per_tok: 4,
    num_hidden_layers: 1,
    hidden_act: 'silu',
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** bfloat16 between 2^-7 and 2^-5, of either sign. */
function randomBits(count) {
  return Uint16Array.from({ length: count }, () => 0x3c00 | ((Math.random() * 0x10000) & 0x80ff));
}
