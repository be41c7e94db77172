import type { Command } from 'commander';
import { given } from '../base/rows.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { TensorEntry } from '../checkpoint/containers/header.js';
import { readStoredTypes } from '../checkpoint/packed/format.js';
import { typesIn } from '../checkpoint/stored.js';
import { expertRows } from '../layer/experts.js';
import { typeName, typesOf, typesText } from './inspect_types.js';
import { modelReport } from './model_report.js';
import { checkpointArgument, jsonFlag, print, stackOption } from './options.js';
import { bold, bytes, facts, ranges, table, wrap } from './text.js';

/** The stored tensors of one MoE layer. */
interface LayerFacts {
  layer: number;
  tensors: number;
  bytes: number;
  dtypes: string[];
  /** Of a packed one: what it was stored in before. */
  packedFrom: string[] | null;
}

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .description(
      'what a checkpoint holds: model type, config, MoE layers, types and sizes, and what it is as a whole model. Reads no weights',
    )
    .argument(...checkpointArgument)
    .addOption(stackOption())
    .option(...jsonFlag)
    .action(async (path: string, { json, stack }: { json?: true; stack?: string }) => {
      const inspection = await inspect(path, stack);
      print(json, inspection, () => describe(inspection));
    });
}

/** What `--json` prints: the fields of the config have MindFormers' names. */
async function inspect(path: string, stack?: string) {
  // Commands of layers load none of it.
  const { modelFacts } = await import('./inspect_model.js');
  const checkpoint = await MoECheckpoint.open(path, { stack });
  try {
    const { modelType, hiddenSize, intermediateSize, weightType, config } = checkpoint;
    const { paths, metadata } = checkpoint.tensors;
    const stored = readStoredTypes(paths[0] as string, metadata);
    return {
      checkpoint: path,
      modelType,
      family: checkpoint.family,
      stack: checkpoint.stack ?? null,
      ...checkpoint.description,
      hiddenSize,
      intermediateSize,
      ...checkpoint.experts,
      weightType,
      config: config.toJSON(),
      diagnostics: [...config.diagnostics],
      model: await modelFacts(checkpoint),
      tensors: typesOf(await checkpoint.tensors.entries()),
      layers: await Promise.all(
        checkpoint.layers.map(async (layer) =>
          layerFacts(layer, await checkpoint.tensorsOf(layer), stored.get(layer)),
        ),
      ),
    };
  } finally {
    await checkpoint.close();
  }
}

function layerFacts(
  layer: number,
  entries: readonly TensorEntry[],
  stored: readonly string[] | undefined,
): LayerFacts {
  return {
    layer,
    tensors: entries.length,
    bytes: entries.reduce((sum, { byteLength }) => sum + byteLength, 0),
    dtypes: typesIn(entries).map(typeName),
    packedFrom: stored?.map(typeName) ?? null,
  };
}

function describe(inspection: Awaited<ReturnType<typeof inspect>>): string {
  const { layers, config, diagnostics } = inspection;
  const total = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  const lines = [
    bold(inspection.checkpoint),
    facts([
      ['model type', inspection.modelType],
      [
        'MoE layers',
        `${layers.length} (${ranges(layers.map(({ layer }) => layer))}), ${bytes(total)}`,
      ],
      ['hidden size', String(inspection.hiddenSize)],
      ['intermediate size', String(inspection.intermediateSize)],
      ['router', inspection.router],
      ['experts', inspection.experts],
      ['shared expert', inspection.sharedExpert ?? 'none'],
      ...(inspection.around === null ? [] : [['the caller’s', inspection.around] as const]),
      ...Object.entries(given(expertRows, inspection)).map(([name, value]): [string, string] => [
        wordsOf(name),
        String(value),
      ]),
      ['weights', inspection.weightType],
    ]),
    '',
    bold('Layers'),
    layerTable(layers),
    '',
    bold('Types'),
    typesText(inspection.tensors),
    '',
    bold('MoEConfig'),
    JSON.stringify(config, null, 2).replace(/^/gm, '  '),
    '',
    modelReport(inspection.model),
  ];
  for (const diagnostic of diagnostics) lines.push('', wrap(`note: ${diagnostic}`));
  return lines.join('\n');
}

/** `hiddenSize` as hidden size. */
const wordsOf = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

function layerTable(layers: readonly LayerFacts[]): string {
  const columns = [
    { title: 'layer' },
    { title: 'tensors' },
    { title: 'size' },
    { title: 'types', align: 'left' as const },
  ];
  const rows = layers.map(({ layer, tensors, bytes: size, dtypes, packedFrom }) => [
    String(layer),
    String(tensors),
    bytes(size),
    dtypes.join(', ') + (packedFrom === null ? '' : `, packed from ${packedFrom.join(', ')}`),
  ]);
  return table(columns, rows);
}
