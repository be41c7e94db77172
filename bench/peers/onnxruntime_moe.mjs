// One MoE layer in onnxruntime-node's CPU provider, behind a line protocol (see bench/README.md): the contrib operator
// MoE with float32 weights, or QMoE with 8-bit or 4-bit weights.
//
// usage: node onnxruntime_moe.mjs hidden intermediate experts top_k f32|q8|q4 threads
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import proto from 'onnx-proto';
import * as ort from 'onnxruntime-node';

// The values every contestant computes with: the same as in src/cli/bench/synthetic.ts.
const period = 1000003;
const stride = 166667;
const seeds = { hidden: 0, router: 1, gate: 2, up: 3, down: 4 };
const scales = { hidden: 2 ** -7, router: 2 ** -10, weight: 2 ** -11 };

const noise = Float32Array.from({ length: period }, (_, index) => {
  let x = Math.imul(index, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 15), 0x85ebca77);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae3d);
  x ^= x >>> 16;
  return (x >>> 24) - 128;
});

const at = (seed, index) => noise[(seed * stride + index) % period];

const { TensorProto, ModelProto } = proto.onnx;
const { FLOAT, UINT8 } = TensorProto.DataType;

/** How the operators hold weights: `pack` values of a row in one element, `encode`d. */
const formats = {
  f32: {
    operator: 'MoE',
    dtype: FLOAT,
    Array: Float32Array,
    pack: 1,
    encode: (values) => values[0] * scales.weight,
  },
  q8: {
    operator: 'QMoE',
    bits: 8,
    dtype: UINT8,
    Array: Uint8Array,
    pack: 1,
    scale: scales.weight,
    encode: ([a]) => a + 128,
  },
  q4: {
    operator: 'QMoE',
    bits: 4,
    dtype: UINT8,
    Array: Uint8Array,
    pack: 2,
    scale: scales.weight * 16,
    encode: ([low, high]) => ((low >> 4) + 8) | (((high >> 4) + 8) << 4),
  },
};

const [hidden, intermediate, experts, topK] = process.argv.slice(2, 6).map(Number);
const format = formats[process.argv[6]];
const threads = Number(process.argv[7]);

/** Experts' weights `[E, rows, columns]`; `source` says which element of which tensor stands in a row. */
function weights(rows, columns, source) {
  const { Array: Elements, pack, encode } = format;
  const packed = new Elements((experts * rows * columns) / pack);
  const values = new Array(pack);
  for (let row = 0, to = 0; row < experts * rows; row++) {
    const { seed, first } = source(Math.floor(row / rows), row % rows);
    for (let column = 0; column < columns; column += pack) {
      for (let i = 0; i < pack; i++) values[i] = at(seed, first + column + i);
      packed[to++] = encode(values);
    }
  }
  return packed;
}

/** Gate and up rows alternate: the only form of SwiGLU that the CPU operator runs. */
const gateUpRow = (expert, row) => ({
  seed: row % 2 === 0 ? seeds.gate : seeds.up,
  first: (expert * intermediate + (row >> 1)) * hidden,
});
const downRow = (expert, row) => ({
  seed: seeds.down,
  first: (expert * hidden + row) * intermediate,
});

function writeModel(folder) {
  // Weights go to files of their own: a protobuf message ends at 2 GiB.
  const initializer = (name, dims, dataType, data) => {
    writeFileSync(join(folder, name), new Uint8Array(data.buffer));
    const externalData = [{ key: 'location', value: name }];
    return TensorProto.create({
      name,
      dims,
      dataType,
      dataLocation: TensorProto.DataLocation.EXTERNAL,
      externalData,
    });
  };
  const { operator, bits, dtype, pack, scale } = format;
  const constant = (name, rows) =>
    initializer(name, [experts, rows], FLOAT, new Float32Array(experts * rows).fill(scale));
  const quantised = operator === 'QMoE';
  // [H, E]: the operator takes logits, so the router is a product before it.
  const router = Float32Array.from({ length: hidden * experts }, (_, i) => {
    return at(seeds.router, (i % experts) * hidden + Math.floor(i / experts)) * scales.router;
  });
  const integer = (name, i) => ({ name, i, type: 2 });
  const float = (name, f) => ({ name, f, type: 1 });
  const attributes = [
    integer('k', topK),
    { name: 'activation_type', s: Buffer.from('swiglu'), type: 3 },
    integer('swiglu_fusion', 1),
    integer('normalize_routing_weights', 1),
    float('activation_alpha', 1),
    float('activation_beta', 0),
    ...(quantised ? [integer('expert_weight_bits', bits)] : []),
  ];
  const matrix = (name, columns) => ({
    name,
    type: {
      tensorType: {
        elemType: FLOAT,
        shape: { dim: [{ dimParam: 'tokens' }, { dimValue: columns }] },
      },
    },
  });
  const model = {
    irVersion: 9,
    opsetImport: [
      { domain: '', version: 17 },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: {
      name: 'moe',
      node: [
        { opType: 'MatMul', input: ['hidden', 'router'], output: ['logits'] },
        {
          opType: operator,
          domain: 'com.microsoft',
          input: quantised
            ? ['hidden', 'logits', 'gateUp', 'gateUpScale', '', 'down', 'downScale']
            : ['hidden', 'logits', 'gateUp', '', 'down'],
          output: ['output'],
          attribute: attributes,
        },
      ],
      initializer: [
        initializer('router', [hidden, experts], FLOAT, router),
        initializer(
          'gateUp',
          [experts, 2 * intermediate, hidden / pack],
          dtype,
          weights(2 * intermediate, hidden, gateUpRow),
        ),
        initializer(
          'down',
          [experts, hidden, intermediate / pack],
          dtype,
          weights(hidden, intermediate, downRow),
        ),
        ...(quantised
          ? [constant('gateUpScale', 2 * intermediate), constant('downScale', hidden)]
          : []),
      ],
      input: [matrix('hidden', hidden)],
      output: [matrix('output', hidden)],
    },
  };
  const path = join(folder, 'moe.onnx');
  writeFileSync(path, ModelProto.encode(ModelProto.create(model)).finish());
  return path;
}

async function openSession() {
  const folder = mkdtempSync(join(tmpdir(), 'node-moe-onnxruntime-'));
  try {
    return await ort.InferenceSession.create(writeModel(folder), {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      logSeverityLevel: 3,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function inputOf(tokens) {
  const data = Float32Array.from(
    { length: tokens * hidden },
    (_, i) => at(seeds.hidden, i) * scales.hidden,
  );
  return new ort.Tensor('float32', data, [tokens, hidden]);
}

async function timeCalls(session, input, seconds) {
  const milliseconds = [];
  const end = performance.now() + seconds * 1e3;
  do {
    const start = performance.now();
    await session.run({ hidden: input });
    milliseconds.push(performance.now() - start);
  } while (performance.now() < end);
  return { milliseconds };
}

/** Output rows of the first and of the last token, one after the other. */
async function checkedRows(session, input) {
  const { output } = await session.run({ hidden: input });
  return { rows: [...output.data.subarray(0, hidden), ...output.data.subarray(-hidden)] };
}

/** How late each tick of a 5 ms interval came, from the start of one call to the first tick after it. */
async function lateness(session, input) {
  const milliseconds = [];
  let last = performance.now();
  let onTick = () => {};
  const timer = setInterval(() => {
    const now = performance.now();
    milliseconds.push(Math.max(0, now - last - 5));
    last = now;
    onTick();
  }, 5);
  const start = performance.now();
  await session.run({ hidden: input });
  const callMilliseconds = performance.now() - start;
  await new Promise((resolve) => {
    onTick = resolve;
  });
  clearInterval(timer);
  return { milliseconds, callMilliseconds };
}

const session = await openSession();
let input = inputOf(1);
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const [command, tokens, seconds] = line.split(' ');
  if (input.dims[0] !== Number(tokens)) input = inputOf(Number(tokens));
  const commands = {
    time: () => timeCalls(session, input, Number(seconds)),
    rows: () => checkedRows(session, input),
    lateness: () => lateness(session, input),
  };
  console.log(JSON.stringify(await commands[command]()));
}
