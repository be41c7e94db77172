// Prints a checksum of the output and of the routing of every layer of test/cases.ts: in each way its weights can be held,
// with each instruction set, on each device, on one rank and on two. Two builds that compute the same bits print the same
// lines: `node scripts/checksums.mjs > before`, and after a change `node scripts/checksums.mjs | diff before -`.
//
//   --only TEXT         settings whose name has the text: cpu-avx2, cuda, ascend-8.1, ranks
//   --simulators PATH   where the stand-ins of CUDA and CANN were built (default build/test)
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { devices, ExpertGroup, MoELayer } from '../dist/index.js';

const root = join(import.meta.dirname, '..');
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    simulators: { type: 'string', default: join(root, 'build/test') },
    setting: { type: 'string' }, // of a child
  },
});

/** How weights may be held. A device that lacks one says so, which is a line, too. */
const held = [
  { weightType: 'float32' },
  { weightType: 'bfloat16' },
  { weightType: 'float16' },
  ...[32, 'all'].map((weightGroup) => ({ weightType: 'int8', weightGroup })),
  { weightType: 'int4', weightGroup: 32 },
  ...[32, 'all'].map((group) => ({
    ...{ weightType: 'int8', weightGroup: group, activationType: 'int8' },
  })),
  { weightType: 'int4', weightGroup: 64, activationType: 'int8' },
  { weightType: 'bfloat16', activationType: 'bfloat16' },
  { weightType: 'int8', weightGroup: 32, activationType: 'bfloat16' },
];

/** test/cases.ts and what it imports, as JavaScript: Node runs no TypeScript in the versions that are supported. */
async function layers() {
  const folder = mkdtempSync(join(tmpdir(), 'checksums-'));
  for (const file of ['cases', 'support/floats', 'support/layers']) {
    const path = join(folder, 'test', `${file}.js`);
    mkdirSync(dirname(path), { recursive: true });
    const text = readFileSync(join(root, 'test', `${file}.ts`), 'utf8');
    const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
    writeFileSync(path, ts.transpileModule(text, { compilerOptions }).outputText);
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const { cases, seeded } = await import(pathToFileURL(join(folder, 'test/cases.js')).href);
  rmSync(folder, { recursive: true });
  return cases.map((shape) => ({ name: shape.name, ...seeded(shape) }));
}

const checksum = (...arrays) => {
  const hash = createHash('sha256');
  for (const array of arrays)
    hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest('hex').slice(0, 16);
};

async function checksumOf(options, hidden) {
  let layer;
  try {
    layer = await MoELayer.create(options);
    const { output, routing, expertLoad, ...totals } = await layer.forward(hidden, {
      routing: true,
    });
    const again = await layer.forward(hidden); // repeated work may take another way
    await layer.close();
    const numbers = new Float64Array(Object.values(totals).filter(Number.isFinite));
    if (checksum(again.output) !== checksum(output)) return 'differs when it is repeated';
    return `${checksum(output)} ${checksum(routing.expertIds, routing.weights, expertLoad, numbers)}`;
  } catch (error) {
    return `${error.code}`;
  } finally {
    await layer?.close();
  }
}

/** Why the device makes no such layer; undefined where it does. */
async function refusalOf(options) {
  try {
    const layer = await MoELayer.create(options);
    await layer.close();
    return undefined;
  } catch (error) {
    return `${error.code}`;
  }
}

async function run({ name, device, join: joining }) {
  let count = 0;
  for (const layer of await layers())
    for (const how of held) {
      const options = { ...layer.options, ...how, device };
      const { weightType, weightGroup = '', activationType = '' } = how;
      const say = (sum) =>
        process.send([name, layer.name, weightType, weightGroup, activationType, sum].join(' | '));
      // What the device refuses is not tried in a group: the first to hear it would leave while the other joins.
      const refusal = joining && joining.modelParallel === 1 && (await refusalOf(options));
      if (refusal) {
        say(refusal);
        continue;
      }
      // A group of its own: one that has failed is of no use any more.
      const store = `${joining?.store}${count++}`;
      const group = joining && (await ExpertGroup.join({ ...joining, store }));
      say(await checksumOf({ ...options, group }, layer.hidden));
      await group?.close();
    }
}

/** A folder with the plugins of this build: MOE_PLUGIN_PATH names one only. */
function pluginFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'checksums-'));
  const addon = process.env.MOE_ADDON ?? join(root, 'build/Release/moe.node');
  const plugins = {
    ascend: dirname(addon),
    cuda: join(values.simulators, 'cuda/plugin'),
    gloo: values.simulators,
  };
  for (const [name, from] of Object.entries(plugins))
    symlinkSync(join(from, `libmoe_${name}.so`), join(folder, `libmoe_${name}.so`));
  return folder;
}

function settings() {
  const cpu = devices().find(({ name }) => name === 'cpu');
  const kernels = cpu?.devices[0]?.kernels ?? '';
  const sets = new Set(kernels.match(/avx512vnni|avx512|avx2|baseline|neon/g));
  const all = [...sets].map((isa) => ({
    ...{ name: `cpu-${isa}`, device: 'cpu', env: { MOE_CPU_ISA: isa } },
  }));
  if (existsSync(join(values.simulators, 'cuda/plugin/libmoe_cuda.so')))
    all.push({ name: 'cuda', device: 'cuda' });
  const chips = { 8.1: 'Ascend910B1', 8.5: 'Ascend910_9391', 9.1: 'Ascend310P3' };
  for (const [release, soc] of Object.entries(chips)) {
    const cann = join(values.simulators, `ascend/cann-${release}`);
    const env = { ASCEND_HOME_PATH: cann, ASCEND_SIM_SOC: soc, ASCEND_SIM_DEVICES: '2' };
    if (existsSync(cann)) all.push({ name: `ascend-${release}`, device: 'ascend', env });
  }
  const oneOfEach = all.filter(({ device }, i) => all.findIndex((s) => s.device === device) === i);
  const ranks = oneOfEach.map((setting) => ({
    ...setting,
    name: `${setting.name}-ranks`,
    ranks: 2,
  }));
  // Members of a set share the columns of experts, which the CPU alone can.
  const columns = { ...ranks[0], name: `${all[0].name}-columns`, modelParallel: 2 };
  return [...all, ...ranks, columns];
}

async function printAll() {
  const plugins = pluginFolder();
  for (const { ranks = 1, modelParallel = 1, env, ...setting } of settings()) {
    if (!setting.name.includes(values.only)) continue;
    const store = mkdtempSync(join(tmpdir(), 'checksums-'));
    const lines = [];
    const children = Array.from({ length: ranks }, (_, rank) => {
      const joining = ranks > 1 && {
        rank,
        size: ranks,
        modelParallel,
        store: `file://${store}/store`,
      };
      const device = ranks > 1 && setting.device === 'ascend' ? `ascend:${rank}` : setting.device;
      const own = {
        ...setting,
        device,
        name: `${setting.name}-${rank}`,
        join: joining || undefined,
      };
      const child = fork(import.meta.filename, ['--setting', JSON.stringify(own)], {
        env: { ...process.env, MOE_PLUGIN_PATH: plugins, ...env },
      });
      child.on('message', (line) => lines.push(line));
      return new Promise((ended) => child.on('exit', ended));
    });
    for (const [rank, code] of (await Promise.all(children)).entries())
      if (code !== 0) lines.push(`${setting.name}-${rank} ended with ${code}`);
    rmSync(store, { recursive: true });
    console.log(lines.sort().join('\n'));
  }
  rmSync(plugins, { recursive: true });
}

if (values.setting) {
  await run(JSON.parse(values.setting));
  process.disconnect();
} else {
  await printAll();
}
