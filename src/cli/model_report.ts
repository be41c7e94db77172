import { weightTypes } from '../layer/options.js';
import { kvTypes } from '../model/options.js';
import type { ModelFacts } from './inspect_model.js';
import { bold, bytes, counted, facts, inWords, ranges, table, wrap } from './text.js';

type Described = NonNullable<ModelFacts['description']>;

/** What `inspect` tells a person of a whole model. */
export function modelReport({ runs, reason, packed, asStored, description }: ModelFacts): string {
  const first = ['can be run', runs ? 'yes' : `no: ${reason}`] as const;
  const title = bold('As a whole model');
  if (description === null) return [title, facts([first])].join('\n');
  const { layers, denseLayers, expertLayers, contextLength, vocabularySize } = description;
  const dense = denseLayers.length === 0 ? '' : `; dense: ${ranges(denseLayers)}`;
  const { parameters, activeParameters } = description;
  const lines = [
    title,
    facts([
      first,
      ['layers', `${layers}; with experts: ${ranges(expertLayers)}${dense}`],
      ['hidden size', String(description.hiddenSize)],
      ...description.attention.map((kind) => ['attention', attentionText(kind, layers)] as const),
      [
        'positions',
        description.positions.map(({ type, theta }) => `${type}, theta ${theta}`).join('; '),
      ],
      ['context', counted(contextLength, 'token')],
      [
        'vocabulary',
        `${vocabularySize}${description.tiedHead ? ', its head is the embedding' : ''}`,
      ],
      ...textFacts(description),
      ['generation', generationText(description)],
      ['parameters', `${inWords(parameters)}, ${inWords(activeParameters)} of them for a token`],
    ]),
    '',
    bold('Memory'),
    memoryTable(description, packed, asStored),
    '',
    bold(wrap(`Cache for ${cacheTokens.toLocaleString('en')} tokens`)),
    table(
      [{ title: 'type', align: 'left' }, { title: 'bytes' }],
      kvTypes.map((type) => [type, bytes(cacheTokens * description.kvBytesPerToken[type])]),
    ),
  ];
  for (const note of description.notes) lines.push('', wrap(`note: ${note}`));
  return lines.join('\n');
}

const cacheTokens = 1000;

function attentionText(kind: Described['attention'][number], layers: number): string {
  const heads = counted(kind.heads, 'head');
  const sizes =
    kind.kind === 'latent'
      ? [
          `${heads} of ${kind.nopeSize} + ${kind.rotatedSize} and values of ${kind.valueSize}`,
          `latent row of ${kind.latentSize}`,
          ...(kind.queryLatentSize === null ? [] : [`of queries ${kind.queryLatentSize}`]),
        ]
      : [
          `${heads}, ${counted(kind.kvHeads as number, 'kv head')} of ${kind.headSize}`,
          ...(kind.rotatedSize === kind.headSize ? [] : [`${kind.rotatedSize} of it turned`]),
        ];
  const window = kind.window === null ? [] : [`window of ${kind.window} tokens`];
  const where = kind.layers.length === layers ? '' : `; layers ${ranges(kind.layers)}`;
  return [...sizes, ...window].join(', ') + where;
}

function textFacts({ tokenizer, noTokenizer, chat }: Described): [string, string][] {
  if (tokenizer === null) return [['tokenizer', `none: ${noTokenizer}`]];
  const { kind, size, special } = tokenizer;
  return [
    ['tokenizer', `${kind}, ${counted(size, 'token')}, ${special.length} special`],
    [
      'chat template',
      chat === undefined || chat === null
        ? 'none'
        : [
            'yes',
            chat.toolCalls === null ? 'no calls of tools' : `calls of tools as ${chat.toolCalls}`,
            ...(chat.reasoning === null ? [] : [`reasoning ${chat.reasoning}`]),
          ].join(', '),
    ],
  ];
}

function generationText({ generation: { endTokens, ...sampling } }: Described): string {
  const said = Object.entries(sampling).map(([name, value]) => `${name} ${value}`);
  const ends = endTokens.length === 0 ? 'no end token' : `ends with ${endTokens.join(', ')}`;
  return [...said, ends].join(', ');
}

function memoryTable(
  { weightBytes, embeddingBytes }: Described,
  packed: boolean,
  asStored: ModelFacts['asStored'],
): string {
  const rows = (packed ? [] : weightTypes).flatMap((type) => {
    const held = weightBytes[type];
    return held === undefined ? [] : [[type as string, bytes(held)]];
  });
  if (asStored !== null)
    rows.unshift([packed ? 'as packed' : 'as stored', bytes(asStored.weightBytes)]);
  return [
    table([{ title: 'weights', align: 'left' }, { title: 'held' }], rows),
    wrap(
      `  The embedding is read from its file, ${bytes((asStored ?? { embeddingBytes }).embeddingBytes)}.`,
    ),
  ].join('\n');
}
