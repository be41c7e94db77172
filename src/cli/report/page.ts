import { readFile } from 'node:fs/promises';
import { unusedText } from '../expert_load.js';
import { counted, percent, significant } from '../text.js';
import type { ReportData, ReportLayer } from './collect.js';
import { style } from './style.js';

/** The page as one HTML document: data, styles and the chart library are inside, and nothing is fetched. */
export async function reportPage(data: ReportData): Promise<string> {
  const script = await readFile(new URL('./charts.js', import.meta.url), 'utf8');
  const title = `Routing of ${data.checkpoint}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${escaped(title)}</h1>
<p>${escaped(subtitle(data))}</p>
</header>
<main>
<ul class="tiles">${tiles(data).map(tile).join('')}</ul>
${sections(data).map(section).join('\n')}
<section>
<h2>Layers in numbers</h2>
<div class="wide">${table(data)}</div>
</section>
</main>
<footer>Made by node-moe ${escaped(data.version)}. Charts by Apache ECharts (Apache License 2.0).</footer>
<script type="application/json" id="data">${inScript(JSON.stringify(data))}</script>
<script>${script.replaceAll('</script', '<\\/script')}</script>
</body>
</html>
`;
}

function subtitle({
  modelType,
  layers,
  expertNum,
  numExpertsChosen,
  input,
  device,
}: ReportData): string {
  const tokens = layers[0]?.tokens ?? 0;
  return [
    modelType,
    `${counted(layers.length, 'MoE layer')} of ${counted(expertNum, 'expert')}, ${numExpertsChosen} per token`,
    `${counted(tokens, 'token')} of ${input}`,
    `routed on ${device}`,
  ].join(' · ');
}

interface Tile {
  name: string;
  value: string;
  note: string;
}

function tiles(data: ReportData): Tile[] {
  const { layers, expertNum } = data;
  const worst = maximum(layers, ({ imbalance }) => imbalance);
  const unused = layers.reduce((sum, layer) => sum + layer.unused.length, 0);
  const medians = layers.flatMap(({ confidence }) => confidence[2] ?? []);
  const factor = data.capacityFactor ?? 1.25;
  const at = data.factors.indexOf(factor);
  const dropped = layers.map((layer) => layer.dropped[at] ?? 0);
  const ranks = data.ranks.indexOf(
    data.ranks.find((count) => count >= 4) ?? data.ranks.at(-1) ?? 0,
  );
  const balance = layers.map((layer) => layer.balance[ranks]?.consecutive ?? 1);
  return [
    {
      name: 'Busiest expert',
      value: worst === undefined ? 'none' : `${significant(worst.imbalance)} ×`,
      note:
        worst === undefined ? '' : `the mean load: layer ${worst.layer}, expert ${worst.busiest}`,
    },
    {
      name: 'Unused experts',
      value: String(unused),
      note: `of ${layers.length * expertNum}; no token of this batch chose them`,
    },
    {
      name: 'Routing confidence',
      value: medians.length === 0 ? 'none' : percent(mean(medians)),
      note: 'of a token’s weight on its first choice, median',
    },
    {
      name: `Dropped at ${factor}`,
      value: percent(mean(dropped)),
      note: `of the choices, ${percent(Math.max(0, ...dropped))} in the worst layer${
        data.capacityFactor === null ? '; the model itself drops none' : ', at the config’s factor'
      }`,
    },
    ...(data.ranks.length === 0
      ? []
      : [
          {
            name: `Balance over ${data.ranks[ranks]} ranks`,
            value: `${significant(mean(balance))} ×`,
            note: `busiest rank over the mean, ${significant(Math.max(1, ...balance))} × in the worst layer`,
          },
        ]),
  ];
}

const tile = ({ name, value, note }: Tile) =>
  `<li><span class="name">${escaped(name)}</span><strong>${escaped(value)}</strong><span>${escaped(note)}</span></li>`;

interface Section {
  id: string;
  title: string;
  text: string;
  height: number;
}

function sections({ layers, ranks }: ReportData): Section[] {
  const rows = Math.max(4, layers.length);
  return [
    {
      id: 'load',
      title: 'Which experts serve the tokens',
      text: 'Each cell is an expert; the colour is its load over the layer’s mean. 1 is perfect balance. Experts that no token chose are framed.',
      height: Math.min(900, 130 + rows * Math.max(14, Math.min(44, 480 / rows))),
    },
    {
      id: 'confidence',
      title: 'How sure the router is',
      text: 'Share of a token’s weight that its first choice has. Boxes hold the middle half of the tokens, whiskers the 10th to the 90th percentile. At the dashed line all choices weigh the same.',
      height: 340,
    },
    {
      id: 'drops',
      title: 'What if capacity were limited',
      text: 'Choices that TopkRouterV2 would drop at each capacity factor. Every line is a layer; the thick one is all layers together.',
      height: 340,
    },
    ...(ranks.length === 0
      ? []
      : [
          {
            id: 'balance',
            title: 'If the experts were spread over ranks',
            text: 'The busiest rank’s load over the mean: how much longer the experts take than with perfect balance. Solid with consecutive experts on each rank, as node-moe places them; dashed with experts placed by their load in this batch, as planPlacement proposes.',
            height: 340,
          },
        ]),
  ];
}

const section = ({ id, title, text, height }: Section) => `<section>
<h2>${escaped(title)}</h2>
<p>${escaped(text)}</p>
<div class="chart" id="${id}" role="img" aria-label="${escaped(title)}" style="height:${Math.round(height)}px"></div>
</section>`;

function table({ layers, factors }: ReportData): string {
  const at = [1, 1.25, 1.5, 2].map((factor) => [factor, factors.indexOf(factor)] as const);
  const header = [
    'layer',
    'busiest expert',
    'over the mean',
    'unused',
    'entropy',
    'first choice, median',
    ...at.map(([factor]) => `dropped at ${factor}`),
    'unroutable tokens',
  ];
  const row = (layer: ReportLayer) => [
    String(layer.layer),
    String(layer.busiest),
    significant(layer.imbalance),
    unusedText(layer.unused),
    significant(layer.entropy),
    layer.confidence[2] === null || layer.confidence[2] === undefined
      ? '–'
      : percent(layer.confidence[2]),
    ...at.map(([, index]) => percent(layer.dropped[index] ?? 0)),
    String(layer.unroutableTokens),
  ];
  const cells = (tag: string, texts: readonly string[]) =>
    `<tr>${texts.map((text) => `<${tag}>${escaped(text)}</${tag}>`).join('')}</tr>`;
  return `<table><thead>${cells('th', header)}</thead><tbody>${layers
    .map((layer) => cells('td', row(layer)))
    .join('')}</tbody></table>`;
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function maximum<T>(items: readonly T[], value: (item: T) => number): T | undefined {
  return items.reduce<T | undefined>(
    (best, item) => (best === undefined || value(item) > value(best) ? item : best),
    undefined,
  );
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text for HTML, inside elements and quoted attributes. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? '');
}

/** JSON for a script element, which ends at the first `</script`. */
export function inScript(json: string): string {
  return json.replaceAll('<', '\\u003c');
}
