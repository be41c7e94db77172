// The measurements as SVG.
import * as echarts from 'echarts';

const colors = {
  float32: '#3b6fb6',
  bfloat16: '#2f9e77',
  float16: '#7a5195',
  int8: '#e07b39',
  int4: '#c0392b',
};

/** Name and SVG text of every chart. */
export function* charts(results) {
  yield ['tokens', tokensChart(results)];
  yield ['experts', expertsChart(results)];
  yield ['top-k', topKChart(results)];
  yield ['threads', threadsChart(results)];
}

const chartWidth = 760;

/**
 * A legend of columns of one width, and its height. The renderer cannot measure text, so each name gets what the widest usual
 * font takes; measured by a narrower one, names would run into the next mark.
 */
export function legendOf(names) {
  const [mark, gap, row, characterWidth] = [30, 12, 25, 7.2];
  const width = Math.ceil(Math.max(...names.map((name) => name.length)) * characterWidth);
  const columns = Math.max(1, Math.floor((chartWidth - 20) / (width + mark + gap)));
  return {
    height: Math.ceil(names.length / columns) * row + 10,
    option: {
      top: 38,
      itemWidth: 24,
      itemGap: gap,
      textStyle: { width, fontSize: 12, lineHeight: 12 },
    },
  };
}

function draw({ title, x, y, series }) {
  const legend = legendOf(series.map(({ name }) => name));
  const height = 380 + legend.height;
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: chartWidth, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
    legend: legend.option,
    grid: { left: 70, right: 30, top: 40 + legend.height, bottom: 55 },
    xAxis: { nameLocation: 'middle', nameGap: 30, minorSplitLine: { show: true }, ...x },
    yAxis: { nameLocation: 'middle', nameGap: 50, ...y },
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

const line = (name, data, color, type = 'solid') => ({
  name,
  type: 'line',
  data,
  symbol: type === 'solid' ? 'emptyCircle' : 'none',
  symbolSize: 6,
  lineStyle: { type, width: type === 'solid' ? 2 : 1 },
  itemStyle: { color },
});

const typesOf = (cases) => [...new Set(cases.map(({ weightType }) => weightType))];
const median = ({ nodeMoe }) => nodeMoe.milliseconds.median;

/** The least time that a case could take: its flops or its bytes at the rates that the machine had beside it. */
export function limit({ nodeMoe: { milliseconds, flopFraction, bandwidthFraction } }) {
  return Math.max(flopFraction, bandwidthFraction) * milliseconds.median;
}

function tokensChart({ tokens: { cases } }) {
  const series = typesOf(cases).flatMap((type) => {
    const own = cases.filter(({ weightType }) => weightType === type);
    return [
      line(
        type,
        own.map((one) => [one.tokens, median(one)]),
        colors[type],
      ),
      line(
        `${type}, limit`,
        own.map((one) => [one.tokens, limit(one)]),
        colors[type],
        'dashed',
      ),
    ];
  });
  return draw({
    title: 'Time of a forward against tokens (H 2048, I 1024, E 16, K 4)',
    x: { type: 'log', logBase: 2, name: 'tokens' },
    y: { type: 'log', name: 'ms' },
    series,
  });
}

/** Time of one sweep, per type and batch size, and what the extra weight bytes alone would make of the first point. */
export function sweepLines(sweep, size) {
  const first = sweep[0];
  return first.cases.map(({ weightType, tokens }) => {
    const points = sweep.map((result) => ({
      size: size(result),
      machine: result.machine,
      one: result.cases.find((c) => c.weightType === weightType && c.tokens === tokens),
    }));
    const [{ one: start }] = points;
    return {
      name: `${weightType}, ${tokens} token${tokens === 1 ? '' : 's'}`,
      weightType,
      tokens,
      points: points.map(({ size: at, one, machine }) => {
        const bytes =
          one.nodeMoe.gigabytesPerSecond * median(one) -
          start.nodeMoe.gigabytesPerSecond * median(start);
        return {
          size: at,
          time: median(one),
          // As on the machine of the first point, by the multiply-add rate beside each; where both do the same flops.
          steady: median(start) * (start.nodeMoe.flopFraction / one.nodeMoe.flopFraction),
          expected: median(start) + bytes / machine.gigabytesPerSecond,
        };
      }),
    };
  });
}

function expertsChart({ experts }) {
  const lines = sweepLines(experts, ({ shape }) => shape.expertNum).filter(
    ({ tokens }) => tokens > 1,
  );
  return draw({
    title: 'Time of 512 tokens against experts (H 1024, I 512, K 8)',
    x: { type: 'log', logBase: 2, name: 'experts' },
    y: { type: 'value', name: 'ms', min: 0 },
    series: lines.flatMap(({ name, weightType, points }) => [
      line(
        name,
        points.map(({ size, steady }) => [size, steady]),
        colors[weightType],
      ),
      line(
        `${name}, by bytes`,
        points.map(({ size, expected }) => [size, expected]),
        colors[weightType],
        'dashed',
      ),
    ]),
  });
}

function topKChart({ topK }) {
  const lines = sweepLines(topK, ({ shape }) => shape.numExpertsChosen);
  return draw({
    title: 'Time against experts per token (H 1024, I 512, E 64)',
    x: { type: 'log', logBase: 2, name: 'experts per token' },
    y: { type: 'log', name: 'ms' },
    series: lines.map(({ name, weightType, tokens, points }) => ({
      ...line(
        name,
        points.map(({ size, time }) => [size, time]),
        colors[weightType],
      ),
      lineStyle: { type: tokens === 1 ? 'dotted' : 'solid', width: 2 },
    })),
  });
}

function threadsChart({ threads }) {
  const series = threads[0].cases
    .filter(({ weightType }) => ['float32', 'int4'].includes(weightType))
    .map(({ weightType, tokens }) => {
      const times = threads.map((result) => [
        result.threads,
        median(result.cases.find((c) => c.weightType === weightType && c.tokens === tokens)),
      ]);
      const styles = { 1: 'dotted', 32: 'dashed', 512: 'solid' };
      return {
        ...line(
          `${weightType}, ${tokens}`,
          times.map(([n, time]) => [n, times[0][1] / time]),
          colors[weightType],
        ),
        lineStyle: { type: styles[tokens], width: 2 },
      };
    });
  return draw({
    title: 'Times faster than one thread (H 2048, I 1024, E 16, K 4), by type and tokens',
    x: { type: 'value', name: 'threads', minInterval: 1, min: 1 },
    y: { type: 'value', name: 'times', min: 0 },
    series,
  });
}
