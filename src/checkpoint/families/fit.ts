// Which layouts a layer's tensor names fit.
import type { ExpertsAt, Layout, MatrixAt } from '../../families/layout.js';
import { mayBeFeedForward } from './layer_parts.js';

/** Every expert's tensors of a way of storing them, as patterns of names. */
function patternsOf({ gate, up, down, gateBias, upBias, downBias }: ExpertsAt): RegExp[] {
  const matrices = [gate, up, down].flatMap((at) => (at === undefined ? [] : [patternOf(at)]));
  const biases = [gateBias, upBias, downBias].flatMap((at) =>
    at === undefined ? [] : [pattern(at.name, '')],
  );
  return [...matrices, ...biases];
}

/** A matrix, with scales that may stand beside it. */
const patternOf = ({ name, mxfp4 }: MatrixAt): RegExp =>
  mxfp4 ? pattern(name, '_(blocks|scales)') : pattern(name, '(_scale\\w*)?');

function pattern(name: string, ending: string): RegExp {
  const stem = name.replace(/\.weight$/, '');
  const escaped = stem.replace(/[.]/g, '\\.').replace(/\{e(\+E)?\}/g, '\\d+');
  const behind = stem === name ? ending : '\\.(q?weight\\w*|\\w*scale\\w*|qzeros|g_idx|biases)';
  return new RegExp(`^${escaped}${behind}$`);
}

/** The router's own name only: biases of many kinds begin with it. */
export const isRouter = (layout: Layout, name: string): boolean => layout.router.name === name;

const someOf = (names: readonly string[], patterns: readonly RegExp[]) =>
  patterns.some((one) => names.some((name) => one.test(name)));

/** Whether there is a tensor of an expert. */
export const hasExperts = (layout: Layout, names: readonly string[]): boolean =>
  layout.experts.some(({ gate, up, down }) =>
    someOf(names, patternsOf({ ...(gate && { gate }), up, down })),
  );

/**
 * What of a layout a layer's names use, where they have all that it needs and nothing that it does not read. Two layouts
 * that use the same are one: they read the layer alike.
 */
export function usedOf(layout: Layout, names: readonly string[]): string | undefined {
  const { router, experts, shared = [], choiceBias = [], routerRow, beside } = layout;
  const needed = [
    ...[
      router.name,
      layout.otherRouter,
      layout.routerBias?.name,
      layout.expertScale?.name,
      layout.outputBias,
    ],
    ...[layout.factor, routerRow?.scale, routerRow?.norm],
  ].filter((name) => name !== undefined);
  const optional = [
    ...choiceBias.map(({ name }) => name),
    ...[layout.expertTable, layout.sharedRouter],
    ...[layout.latentDown?.name, layout.latentUp?.name],
  ].filter((name) => name !== undefined && names.includes(name));
  const isThere = (way: ExpertsAt) => patternsOf(way).every((one) => someOf(names, [one]));
  const ways = experts.filter(isThere);
  const last = layout.lastExperts === undefined ? [] : [layout.lastExperts];
  const sharedWays = shared.filter(isThere);
  if (!needed.every((name) => names.includes(name)) || ways.length === 0 || !last.every(isThere))
    return undefined;
  const read = [...ways, ...last, ...sharedWays].flatMap(patternsOf);
  const exact = [...needed, ...optional];
  const isRead = (name: string) =>
    exact.includes(name) ||
    read.some((one) => one.test(name)) ||
    !mayBeFeedForward(name) ||
    (beside ?? []).some((part) => beginsWith(name, part));
  if (!names.every(isRead)) return undefined;
  return JSON.stringify([router, exact, ways, last, sharedWays, layout.activation, routerRow]);
}

const beginsWith = (name: string, part: string): boolean =>
  /[._]$/.test(part) ? name.startsWith(part) : name === part;

/**
 * Whether a tensor of a layer is the caller's, or another stack's.
 *
 * @param expertNum E
 */
export function standsBeside(
  { beside = [], otherRouter }: Layout,
  name: string,
  expertNum: number,
): boolean {
  if (name === otherRouter) return true;
  return beside.some((part) => {
    if (!part.includes('{e')) return beginsWith(name, part);
    const [before, behind] = part.split(/\{e(?:\+E)?\}/) as [string, string];
    const [, expert] =
      new RegExp(`^${before.replace(/\./g, '\\.')}(\\d+)${behind}`).exec(name) ?? [];
    if (expert === undefined) return false;
    return part.includes('{e+E}') ? Number(expert) >= expertNum : Number(expert) < expertNum;
  });
}
