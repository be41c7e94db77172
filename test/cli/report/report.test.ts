import { cp, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ReportData } from '../../../src/cli/report/collect.js';
import { hasBrowser, openBrowser, openPage } from '../../fixtures/browser.js';
import {
  activations,
  nodeMoe,
  nodeMoeJson,
  root,
  tinyMixtral,
} from '../../fixtures/command_line.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';

const html = async () => join(await temporaryFolder(), 'report.html');
const arguments_ = (page: string, ...options: string[]) => [
  'report',
  tinyMixtral,
  '--input',
  activations,
  '--html',
  page,
  ...options,
];

test('reports what run counts, layer by layer', async () => {
  const data = await nodeMoeJson<ReportData>(arguments_(await html()));
  const { layers } = await nodeMoeJson<{ layers: { expertLoad: number[]; imbalance: number }[] }>([
    ...['run', tinyMixtral, '--layer', 'all', '--input', activations],
  ]);
  expect(data.layers.map(({ expertLoad }) => expertLoad)).toEqual(
    layers.map(({ expertLoad }) => expertLoad),
  );
  expect(data.layers.map(({ imbalance }) => imbalance)).toEqual(
    layers.map(({ imbalance }) => imbalance),
  );
  expect(data.ranks).toEqual([2, 4, 8]);
  for (const { dropped, confidence, balance, expertLoad } of data.layers) {
    const [two] = balance;
    const half = expertLoad.slice(0, 4).reduce((sum, load) => sum + load, 0) / 192;
    expect(two?.consecutive).toBeCloseTo(Math.max(half, 2 - half), 12);
    expect(two?.placed).toBeLessThanOrEqual(two?.consecutive ?? 0);
    expect(dropped[0]).toBeGreaterThan(0);
    expect(dropped.at(-1)).toBe(0);
    expect(dropped).toEqual(dropped.toSorted((a, b) => b - a));
    expect(confidence).toEqual(confidence.toSorted());
    expect(confidence[0]).toBeGreaterThanOrEqual(0.5);
  }
});

test('the config’s own factor is on the curve, and drops what run drops there', async () => {
  const set = ['--set', 'capacity_factor=1.17', '--set', 'expert_group_size=50'];
  const data = await nodeMoeJson<ReportData>(arguments_(await html(), ...set, '--layer', '2'));
  const { layers } = await nodeMoeJson<{ layers: { droppedChoices: number }[] }>([
    ...['run', tinyMixtral, '--layer', '2', '--input', activations, ...set],
  ]);
  expect(data.capacityFactor).toBe(1.17);
  const dropped = data.layers[0]?.dropped[data.factors.indexOf(1.17)] ?? 0;
  expect(dropped * 192 * 2).toBeCloseTo(layers[0]?.droppedChoices ?? -1, 6);
});

test.each([
  [['--layer', '9'], 1, 'Expected `layer` to be one of the MoE layers 0, 1, 2, 3, got `9`'],
  [['--layer', 'x'], 2, 'Expected an integer of at least 0'],
  [['--html', activations], 1, 'which is read'],
  [['--html', '/nowhere/at/all.html'], 1, 'a file that can be written'],
])('%j ends with %i', async (options, code, message) => {
  const finished = await nodeMoe([...arguments_(await html()), ...options]);
  expect(finished.code).toBe(code);
  expect(finished.stderr).toContain(message);
});

describe.skipIf(!hasBrowser)('the page (skipped where Debian’s chromium is not installed)', () => {
  test('draws its charts without an error and without the network', {
    timeout: 60_000,
  }, async () => {
    const file = await html();
    const { code, stdout } = await nodeMoe(arguments_(file, '--set', 'capacity_factor=1.1'));
    expect([code, stdout]).toEqual([0, `${file}: 4 layers of ${tinyMixtral}, 8 experts each\n`]);
    const url = pathToFileURL(file).href;
    const browser = await openBrowser();
    try {
      const { page, errors, requests } = await openPage(browser, url);
      await page.waitForSelector('html[data-charts="4"]');
      const picture = join(root, 'build/report.png') as `${string}.png`;
      await page.screenshot({ path: picture, fullPage: true });
      expect((await stat(picture)).size).toBeGreaterThan(50_000);

      // Every chart has drawn: its canvas holds several colours.
      const colours = await page.$$eval('.chart', (charts) =>
        charts.map((chart) => {
          const canvas = chart.querySelector('canvas') as HTMLCanvasElement;
          const { width, height } = canvas;
          const { data } = canvas.getContext('2d')?.getImageData(0, 0, width, height) ?? {
            data: [],
          };
          const seen = new Set<number>();
          for (let i = 0; i < data.length; i += 4)
            seen.add(((data[i] ?? 0) << 16) | ((data[i + 1] ?? 0) << 8) | (data[i + 2] ?? 0));
          return seen.size;
        }),
      );
      expect(colours).toHaveLength(4);
      for (const count of colours) expect(count).toBeGreaterThan(20);

      // The tooltip of a cell says what the table says of the busiest expert.
      await page.hover('#load canvas');
      await page.waitForFunction(() =>
        /layer \d, expert \d.*\d+ tokens/s.test(document.querySelector('#load')?.textContent ?? ''),
      );
      expect(await page.$eval('h1', ({ textContent }) => textContent)).toBe(
        `Routing of ${tinyMixtral}`,
      );
      expect(await page.$$eval('tbody tr', ({ length }) => length)).toBe(4);
      expect(errors).toEqual([]);
      expect(requests).toEqual([url]);
    } finally {
      await browser.close();
    }
  });

  test('is read without scripts, in the dark, and on a telephone', {
    timeout: 60_000,
  }, async () => {
    const file = await html();
    await nodeMoe(arguments_(file));
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      await page.setJavaScriptEnabled(false);
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
      await page.setViewport({ width: 390, height: 800 });
      await page.goto(pathToFileURL(file).href);
      const text = await page.$eval('main', ({ textContent }) => textContent ?? '');
      expect(text).toMatch(/Busiest expert1\.35 ×/);
      const [background, width] = await page.$eval('body', (body) => [
        getComputedStyle(body).backgroundColor,
        body.scrollWidth,
      ]);
      expect(background).toBe('rgb(20, 24, 30)');
      expect(width).toBeLessThanOrEqual(390);
    } finally {
      await browser.close();
    }
  });
});

test('a batch of no tokens and a layer alone make a page, too', async () => {
  const file = await html();
  const { code } = await nodeMoe(arguments_(file, '--tokens', '5:5', '--layer', '1'));
  expect(code).toBe(0);
  const [page = ''] = (await readFile(file, 'utf8')).split('<script>(function');
  expect(page).toContain('0 tokens of');
  expect(page).not.toContain('NaN');
});

test('names in the page are text, whatever they hold', async () => {
  const folder = join(await temporaryFolder(), '<b>x<', 'script><script>boom()<', 'script>');
  await cp(join(root, tinyMixtral), folder, { recursive: true });
  const file = await html();
  const { code } = await nodeMoe(['report', folder, '--input', activations, '--html', file]);
  expect(code).toBe(0);
  const [page = ''] = (await readFile(file, 'utf8')).split('<script>(function');
  expect(page).not.toContain('<script>boom');
  expect(page).not.toContain('<b>x');
  expect(page).toContain('&lt;b&gt;x&lt;/script&gt;&lt;script&gt;boom()');
});
