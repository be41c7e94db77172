// Pictures of how tokens are routed, side by side for two or three settings. What they show is what the layer does: each
// is routed here.
import { MoELayer } from '../../dist/index.js';
import { box, colours, picture, text } from './svg.mjs';

const cell = 34;
const left = 58;
const top = 74;
const gap = 46;

/** Routes logits, `[T, E]`: the router is the identity, so what goes in are the logits. */
async function route(logits, config, bias) {
  const E = logits[0].length;
  const identity = Float32Array.from({ length: E * E }, (_, i) => (i % (E + 1) === 0 ? 1 : 0));
  const zeros = { dtype: 'float32', shape: [E, 1, E], data: new Float32Array(E * E) };
  const layer = await MoELayer.create({
    config: { expertNum: E, ...config },
    hiddenSize: E,
    intermediateSize: 1,
    activation: 'relu',
    device: 'cpu',
    threads: 1,
    weights: {
      router: { dtype: 'float32', shape: [E, E], data: identity },
      ...(bias && {
        routerCorrectionBias: { dtype: 'float32', shape: [E], data: Float32Array.from(bias) },
      }),
      up: zeros,
      down: { ...zeros, shape: [E, E, 1] },
    },
  });
  const result = await layer.forward(Float32Array.from(logits.flat()), { routing: true });
  await layer.close();
  return result;
}

/** For each (token, expert) that was chosen its weight, and whether capacity let it be. */
async function choices(logits, { config, bias }) {
  const K = config.numExpertsChosen;
  const result = await route(logits, config, bias);
  const wanted = await route(
    logits,
    { ...config, routingPolicy: 'TopkRouterV2', capacityFactor: -1, expertGroupSize: null },
    bias,
  );
  const cells = new Map();
  logits.forEach((_, token) => {
    for (let k = 0; k < K; k++) {
      const slot = token * K + k;
      const asked = wanted.routing.expertIds[slot];
      cells.set(`${token},${asked}`, cells.get(`${token},${asked}`) ?? { kept: false });
      const expert = result.routing.expertIds[slot];
      if (expert >= 0)
        cells.set(`${token},${expert}`, { kept: true, weight: result.routing.weights[slot] });
    }
  });
  return { cells, result };
}

function drawCell(x, y, { kept, weight }) {
  if (!kept)
    return [
      box(x + 2, y + 2, cell - 4, cell - 4, {
        stroke: colours.dropped,
        'stroke-width': 1.5,
        'stroke-dasharray': '3 2',
      }),
      text(x + cell / 2, y + cell / 2 + 4, '✕', { 'text-anchor': 'middle', fill: colours.dropped }),
    ];
  const opacity = Math.min(1, 0.18 + 0.82 * Math.min(weight, 1)).toFixed(2);
  return [
    box(x + 2, y + 2, cell - 4, cell - 4, { fill: colours.kept, 'fill-opacity': opacity }),
    text(x + cell / 2, y + cell / 2 + 4, weight.toFixed(2).replace(/^0/, ''), {
      'text-anchor': 'middle',
      'font-size': 11,
      fill: Number(opacity) > 0.55 ? '#ffffff' : colours.text,
    }),
  ];
}

/** One setting: tokens are rows, experts columns; under them how many slots are taken. */
async function panel(x, logits, setting) {
  const [T, E] = [logits.length, logits[0].length];
  const { cells, result } = await choices(logits, setting);
  const every = setting.config.expertGroupSize ?? T;
  const perGroup = setting.config.nGroup ? E / setting.config.nGroup : 0;
  const width = E * cell;
  const bands = Array.from({ length: Math.ceil(T / every) }, (_, group) => {
    const rows = Math.min(every, T - group * every);
    return box(x, top + group * every * cell, width, rows * cell, {
      fill: group % 2 ? colours.page : colours.group,
      stroke: colours.line,
    });
  });
  const columns = perGroup
    ? Array.from({ length: setting.config.nGroup }, (_, group) =>
        box(x + group * perGroup * cell, top - 4, perGroup * cell, T * cell + 8, {
          stroke: colours.muted,
          'stroke-width': 1.4,
        }),
      )
    : [];
  const drawn = [...cells].map(([key, value]) => {
    const [token, expert] = key.split(',').map(Number);
    return drawCell(x + expert * cell, top + token * cell, value);
  });
  const names = Array.from({ length: E }, (_, expert) =>
    text(x + (expert + 0.5) * cell, top - 10, `e${expert}`, {
      'text-anchor': 'middle',
      fill: colours.muted,
    }),
  );
  const capacity = result.capacity === null ? 'no capacity' : `capacity ${result.capacity}`;
  const facts = setting.note?.(result) ?? `${capacity}, ${result.droppedChoices} dropped`;
  return [
    text(x, 28, setting.title, { 'font-weight': 600, 'font-size': 13 }),
    text(x, 46, facts, { fill: colours.muted }),
    bands,
    columns,
    names,
    drawn,
  ];
}

/** @param settings for each panel its `title`, `config`, and what else it needs */
export async function routingPicture(title, logits, settings) {
  const [T, E] = [logits.length, logits[0].length];
  const step = Math.max(E * cell, 200) + gap;
  const panels = [];
  for (const [i, setting] of settings.entries())
    panels.push(await panel(left + i * step, logits, setting));
  const tokens = logits.map((_, token) =>
    text(left - 10, top + (token + 0.5) * cell + 4, `token ${token}`, {
      'text-anchor': 'end',
      fill: colours.muted,
      'font-size': 11,
    }),
  );
  return picture(left + settings.length * step - gap + 20, top + T * cell + 22, title, [
    tokens,
    panels,
  ]);
}
