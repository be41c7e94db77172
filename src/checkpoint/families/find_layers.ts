import { describe, unexpected } from '../../base/checks.js';
import { CheckpointError, ConfigError } from '../../base/errors.js';
import type { ModelLayers } from '../../config/hugging_face_layers.js';
import { familyRows, mindformersRow } from '../../families/families.js';
import type { Layout } from '../../families/layout.js';
import type { FamilyRow } from '../../families/row.js';
import { hasExperts, isRouter, usedOf } from './fit.js';
import { mayBeFeedForward } from './layer_parts.js';
import { packedPrefix } from './packed.js';

type Row = Pick<FamilyRow, 'modelTypes' | 'models' | 'layouts' | 'stack' | 'around'>;

/** `model.layers.3.mlp.gate.weight`: what stands before the layers, the layer's number, the name inside the layer. */
const layerName = /^(.*?)(?:layers|blocks|block)\.(0|[1-9]\d{0,5})\.(.+)$/;

/** Stacks of layers that predict further tokens: none of the model's own. */
const isFurther = (root: string) => /(^|\.)mtp/.test(root);

/** One MoE layer's tensors. */
export interface FoundLayer {
  /** What their names begin with: `model.layers.3.` */
  prefix: string;
  /** Their names behind the prefix; those that may be of the feed-forward part only. */
  names: string[];
}

export interface FoundLayers {
  layout: Layout;
  row: Row;
  /** What the `stack` option calls it. */
  stack: string;
  /** By number, ascending. */
  layers: ReadonlyMap<number, FoundLayer>;
}

/** What is known of a checkpoint besides its tensors' names. */
export interface Known {
  /** The rows of its model type; absent where nothing says it. */
  readonly rows?: readonly FamilyRow[] | undefined;
  /** The `model_type` of the rows. */
  readonly modelType?: unknown;
  readonly stack?: string | undefined;
  /** Which layers its config says that a stack has. */
  readonly layersOf?: (stack: string | undefined) => ModelLayers;
}

/**
 * Finds the MoE layers among a checkpoint's tensor names: a layer is one when it has a router. The model type decides
 * between layouts that fit; without one, the layout is the one whose names are all there and leave none over, and where
 * several of those would read a layer differently, that is an error.
 *
 * @param path the checkpoint, for messages
 */
export function findLayers(path: string, names: Iterable<string>, known: Known = {}): FoundLayers {
  const stacks = stacksOf(names);
  const found = [...stacks].flatMap(([root, stack]) =>
    known.rows === undefined ? unnamed(path, root, stack) : named(known.rows, root, stack, known),
  );
  if (found.length === 0) throw nothingFound(path, stacks, known);
  const chosen = chosenOf(path, found, known.stack);
  expectSparse(path, chosen, known.layersOf?.(chosen.row.stack?.name));
  return chosen;
}

/** Layers that a device packed before: parts in its layout, used where they stand. */
export function findPacked(path: string, names: Iterable<string>): Stack {
  const layers = new Map<number, FoundLayer>();
  for (const stack of stacksOf(names).values())
    for (const number of [...stack.keys()].sort((a, b) => a - b)) {
      const layer = stack.get(number) as FoundLayer;
      if (layer.names.includes(`${packedPrefix}up`)) layers.set(number, layer);
    }
  if (layers.size > 0) return layers;
  throw new CheckpointError(`Expected ${path} to hold packed layers, got none`);
}

type Stack = ReadonlyMap<number, FoundLayer>;
type Found = FoundLayers & { root: string };

/** Layer numbers and the layers' tensor names, by what stands before them in the name. */
function stacksOf(names: Iterable<string>): Map<string, Map<number, FoundLayer>> {
  const stacks = new Map<string, Map<number, FoundLayer>>();
  for (const name of names) {
    const [, root, number, local] = layerName.exec(name) ?? [];
    if (root === undefined || number === undefined || local === undefined || isFurther(root))
      continue;
    const stack = stacks.get(root) ?? new Map<number, FoundLayer>();
    stacks.set(root, stack);
    const layer = stack.get(Number(number)) ?? { prefix: name.slice(0, -local.length), names: [] };
    stack.set(Number(number), layer);
    layer.names.push(local);
  }
  return stacks;
}

/** What the rows of a model type find under a root. */
function named(rows: readonly FamilyRow[], root: string, stack: Stack, known: Known): Found[] {
  return rows.flatMap((row) => {
    const { name, roots = [] } = row.stack ?? {};
    if (roots.length > 0 && !roots.includes(root)) return [];
    const layout = fittingOf(row, stack);
    if (layout === undefined) return [];
    const { count = Number.POSITIVE_INFINITY } = known.layersOf?.(name) ?? {};
    const layers = layersOf(layout, stack, count);
    return layers.size === 0 ? [] : [{ root, row, layout, stack: name ?? labelOf(root), layers }];
  });
}

const labelOf = (root: string) => root.replace(/\.$/, '');

/** The layout with routers and experts; with routers only where experts are missing. */
function fittingOf({ layouts }: Row, stack: Stack): Layout | undefined {
  const layers = [...stack.values()];
  const routed = layouts.filter((layout) =>
    layers.some(({ names }) => names.some((name) => isRouter(layout, name))),
  );
  return (
    routed.find((layout) => layers.some(({ names }) => hasExperts(layout, names))) ?? routed[0]
  );
}

/** What any row finds under a root. */
function unnamed(path: string, root: string, stack: Stack): Found[] {
  const routed = [...familyRows, mindformersRow].flatMap((row) =>
    row.layouts.map((layout) => ({ row, layout, layers: layersOf(layout, stack, Infinity) })),
  );
  const candidates = routed.filter(({ layers }) => layers.size > 0);
  const used = new Map<string, (typeof candidates)[number][]>();
  for (const candidate of candidates) {
    const [first] = candidate.layers.values();
    const key = first && usedOf(candidate.layout, first.names);
    if (key !== undefined) used.set(key, [...(used.get(key) ?? []), candidate]);
  }
  const types = [...used.values()].map((same) => same.flatMap(({ row }) => row.modelTypes));
  if (used.size > 1)
    throw new CheckpointError(
      `Expected ${path} to have a config.json with a \`model_type\`, as its tensors may be those of ` +
        `${types.map((same) => same.join(', ')).join(' or of ')}, which read them differently`,
    );
  // Where none fits, the first with a router says which tensor is missing or left over.
  const [chosen] = [...used.values()].flat();
  const best =
    chosen ?? candidates.find(({ layout, layers }) => isComplete(layout, layers)) ?? candidates[0];
  return best === undefined ? [] : [{ root, stack: labelOf(root), ...best }];
}

const isComplete = (layout: Layout, layers: Stack) =>
  [...layers.values()].some(({ names }) => hasExperts(layout, names));

/** The layers of a stack that have the router, below `count`, each cut down to its feed-forward part. */
function layersOf(layout: Layout, stack: Stack, count: number): Map<number, FoundLayer> {
  const layers = new Map<number, FoundLayer>();
  for (const number of [...stack.keys()].sort((a, b) => a - b)) {
    const { prefix, names } = stack.get(number) as FoundLayer;
    if (number < count && names.some((name) => isRouter(layout, name)))
      layers.set(number, { prefix, names: names.filter(mayBeFeedForward) });
  }
  return layers;
}

function chosenOf(path: string, found: readonly Found[], stack: string | undefined): FoundLayers {
  const asked = stack === undefined ? found : found.filter((each) => each.stack === stack);
  const preferred = asked.filter(({ root }) => root === 'model.');
  const [chosen, other] = preferred.length > 0 ? preferred : asked;
  if (chosen !== undefined && other === undefined) return chosen;
  const several = found.map((each) => `'${each.stack}'`).join(' or ');
  const { message } = unexpected('stack', `${several}, the stacks of MoE layers in ${path}`, stack);
  throw new ConfigError(message);
}

/** Throws `CheckpointError` for an MoE layer where the config says that there is none. */
function expectSparse(path: string, { layers }: FoundLayers, said: ModelLayers | undefined): void {
  const [wrong] = [...layers.keys()].filter((layer) => said?.isSparse(layer) === false);
  if (said === undefined || wrong === undefined) return;
  const keys =
    said.keys.length === 0 ? '' : ` (${said.keys.map((key) => `\`${key}\``).join(', ')})`;
  throw new CheckpointError(
    `Expected ${path} to have MoE layers where its config says so${keys}, got one in layer ${wrong}`,
  );
}

function nothingFound(path: string, stacks: ReadonlyMap<string, Stack>, known: Known): Error {
  const layers = [...stacks.values()].flatMap((stack) => [...stack.values()]);
  const routers = [...new Set(rowsOf(known).flatMap(routersOf))].join(', ');
  const others = familyRows.filter(({ layouts }) =>
    layouts.some((layout) => layers.some(({ names }) => usedOf(layout, names) !== undefined)),
  );
  const types = [...new Set(others.flatMap(({ modelTypes }) => modelTypes))].join(', ');
  if (known.rows !== undefined && types !== '')
    return new ConfigError(
      `Expected \`model_type\` to be one whose experts are stored as those of ${path} (${types}), got ` +
        describe(known.modelType),
    );
  return new CheckpointError(
    `Expected ${path} to hold layers with a router (${routers}), got none`,
  );
}

const rowsOf = ({ rows }: Known): readonly Row[] => rows ?? [...familyRows, mindformersRow];
const routersOf = ({ layouts }: Row) => layouts.map(({ router }) => router.name);
