// The charts of `node-moe report`. Runs in the browser, from inside the page, on the data in the page.
import { BoxplotChart, HeatmapChart, LineChart } from 'echarts/charts';
import {
  GridComponent,
  LegendComponent,
  MarkLineComponent,
  TooltipComponent,
  VisualMapComponent,
} from 'echarts/components';
import { type EChartsCoreOption, init, use } from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import type { ReportData, ReportLayer } from '../src/cli/report/collect.js';

use([
  BoxplotChart,
  HeatmapChart,
  LineChart,
  GridComponent,
  LegendComponent,
  MarkLineComponent,
  TooltipComponent,
  VisualMapComponent,
  CanvasRenderer,
]);

/** Most cells with their value written in them. */
const labelledCells = 400;

const data: ReportData = JSON.parse(document.getElementById('data')?.textContent ?? '');
const layerNames = data.layers.map(({ layer }) => `layer ${layer}`);
const percentText = (value: number) => `${Number((value * 100).toFixed(1))} %`;
const times = (value: number) => `${value.toFixed(2)} ×`;

interface Colours {
  text: string;
  muted: string;
  line: string;
  card: string;
  accent: string;
  warm: string;
  dark: boolean;
}

function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const [text, muted, line] = [value('text'), value('muted'), value('line')];
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  return {
    text,
    muted,
    line,
    card: value('card'),
    accent: value('accent'),
    warm: value('warm'),
    dark,
  };
}

function axis({ muted, line }: Colours, name: string) {
  return {
    name,
    nameLocation: 'middle' as const,
    nameGap: 32,
    nameTextStyle: { color: muted },
    axisLabel: { color: muted, hideOverlap: true },
    axisLine: { lineStyle: { color: line } },
    axisTick: { lineStyle: { color: line } },
    splitLine: { lineStyle: { color: line } },
  };
}

function base({ text, card, line }: Colours): EChartsCoreOption {
  return {
    animation: false,
    textStyle: { color: text, fontFamily: 'inherit' },
    grid: { left: 64, right: 24, top: 24, bottom: 56, containLabel: false },
    tooltip: {
      backgroundColor: card,
      borderColor: line,
      textStyle: { color: text },
      confine: true,
    },
  };
}

function loadChart(look: Colours): EChartsCoreOption {
  const most = Math.max(2, ...data.layers.map(({ imbalance }) => imbalance));
  const cells = data.layers.flatMap((layer, row) => {
    const mean = layer.expertLoad.reduce((sum, load) => sum + load, 0) / data.expertNum;
    return layer.expertLoad.map((load, expert) => ({
      value: [expert, row, mean === 0 ? 0 : load / mean, load],
      ...(load === 0 && {
        itemStyle: { borderColor: look.warm, borderWidth: 2, borderType: 'solid' as const },
      }),
    }));
  });
  cells.sort((a, b) => (b.value[3] ?? 0) - (a.value[3] ?? 0)); // frames last, over their neighbours
  const ramp = look.dark
    ? ['#1f2731', '#234a6e', '#2f7ab5', '#7cc0ee', '#f2f8fd']
    : ['#f3f7fc', '#b9d6ef', '#5b9fd6', '#1f62a8', '#0a2a57'];
  return {
    ...base(look),
    grid: { left: 84, right: 96, top: 12, bottom: 56 },
    xAxis: {
      ...axis(look, 'expert'),
      type: 'category',
      data: Array.from({ length: data.expertNum }, (_, expert) => String(expert)),
      splitArea: { show: false },
    },
    yAxis: { ...axis(look, ''), type: 'category', data: layerNames, inverse: true },
    visualMap: {
      min: 0,
      max: Number(most.toFixed(2)),
      dimension: 2,
      calculable: true,
      precision: 1,
      right: 0,
      top: 'center',
      text: ['× mean', ''],
      textStyle: { color: look.muted },
      inRange: { color: ramp },
    },
    tooltip: {
      ...(base(look)['tooltip'] as object),
      formatter: ({ value }: { value: number[] }) => {
        const [expert = 0, row = 0, ratio = 0, load = 0] = value;
        return `${layerNames[row]}, expert ${expert}<br><b>${load} tokens</b>, ${times(ratio)} the mean`;
      },
    },
    series: [
      {
        type: 'heatmap',
        progressive: 0, // all cells at once
        data: cells,
        itemStyle: { borderColor: look.card, borderWidth: cells.length <= 4096 ? 1 : 0 },
        label: {
          show: cells.length <= labelledCells,
          fontSize: 11,
          formatter: ({ value }: { value: number[] }) => (value[2] ?? 0).toFixed(1),
        },
        emphasis: { itemStyle: { borderColor: look.text, borderWidth: 1 } },
      },
    ],
  };
}

function confidenceChart(look: Colours): EChartsCoreOption {
  const equal = 1 / data.numExpertsChosen;
  return {
    ...base(look),
    grid: { left: 64, right: 24, top: 24, bottom: 32 },
    xAxis: { ...axis(look, ''), type: 'category', data: layerNames },
    yAxis: {
      ...axis(look, ''),
      type: 'value',
      min: Math.floor(equal * 10) / 10 === 1 ? 0 : Math.floor(equal * 10) / 10,
      max: 1,
      axisLabel: { color: look.muted, formatter: percentText },
    },
    tooltip: {
      ...(base(look)['tooltip'] as object),
      formatter: ({ dataIndex }: { dataIndex: number }) => {
        const names = ['10th', '25th', 'median', '75th', '90th'];
        const lines = (data.layers[dataIndex]?.confidence ?? []).map(
          (value, i) => `${names[i]}: <b>${value === null ? 'none' : percentText(value)}</b>`,
        );
        return [layerNames[dataIndex], ...lines.reverse()].join('<br>');
      },
    },
    series: [
      {
        type: 'boxplot',
        data: data.layers.map(({ confidence }) => confidence.map((value) => value ?? '-')),
        boxWidth: [6, 44],
        itemStyle: {
          color: look.dark ? '#234a6e' : '#cfe3f5',
          borderColor: look.accent,
          borderWidth: 1.5,
        },
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: look.warm, type: 'dashed' },
          label: { formatter: 'all the same', color: look.muted, position: 'insideEndTop' },
          data: [{ yAxis: equal }],
        },
      },
    ],
  };
}

/** One thin line for each layer, one thick line for all. */
function layerLines(look: Colours, points: (layer: ReportLayer) => [number, number][]) {
  return data.layers.map((layer) => ({
    type: 'line' as const,
    name: `layer ${layer.layer}`,
    data: points(layer),
    showSymbol: false,
    lineStyle: { width: 1, color: look.muted, opacity: data.layers.length > 12 ? 0.35 : 0.65 },
    itemStyle: { color: look.muted },
    emphasis: { lineStyle: { width: 2.5 } },
    triggerLineEvent: true,
  }));
}

/** The capacity factor from which on nothing is dropped, at least 1.5: the rest of the axis would be empty. */
function lastDrop(): number | undefined {
  const none = data.factors.findIndex((_, i) => data.layers.every(({ dropped }) => !dropped[i]));
  return none < 0
    ? data.factors.at(-1)
    : Math.max(1.5, data.capacityFactor ?? 0, data.factors[none] ?? 0);
}

function dropsChart(look: Colours): EChartsCoreOption {
  const choices = data.layers.map(({ expertLoad }) =>
    expertLoad.reduce((sum, load) => sum + load, 0),
  );
  const all = choices.reduce((sum, count) => sum + count, 0) || 1;
  const together = data.factors.map((factor, i): [number, number] => [
    factor,
    data.layers.reduce((sum, { dropped }, l) => sum + (dropped[i] ?? 0) * (choices[l] ?? 0), 0) /
      all,
  ]);
  const lines = layerLines(look, ({ dropped }) =>
    data.factors.map((factor, i) => [factor, dropped[i] ?? 0]),
  );
  return {
    ...base(look),
    xAxis: { ...axis(look, 'capacity factor'), type: 'value', min: 1, max: lastDrop() },
    yAxis: {
      ...axis(look, ''),
      type: 'value',
      min: 0,
      axisLabel: { color: look.muted, formatter: percentText },
    },
    tooltip: {
      ...(base(look)['tooltip'] as object),
      formatter: ({
        seriesName,
        value,
      }: {
        seriesName: string;
        value: [number, number] | number;
      }) =>
        Array.isArray(value)
          ? `${seriesName}<br>factor ${value[0]}: <b>${percentText(value[1])}</b> dropped`
          : seriesName,
    },
    series: [
      ...lines,
      {
        type: 'line',
        name: 'all layers',
        data: together,
        symbolSize: 5,
        lineStyle: { width: 3, color: look.accent },
        itemStyle: { color: look.accent },
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: look.warm, type: 'dashed' },
          label: { formatter: 'the config’s', color: look.muted },
          data: data.capacityFactor === null ? [] : [{ xAxis: data.capacityFactor }],
        },
      },
    ],
  };
}

function balanceChart(look: Colours): EChartsCoreOption {
  const names = data.ranks.map(String);
  const over = (kind: 'consecutive' | 'placed', reduce: (values: number[]) => number) =>
    data.ranks.map((_, i) => reduce(data.layers.map(({ balance }) => balance[i]?.[kind] ?? 1)));
  const mean = (values: number[]) =>
    values.reduce((sum, value) => sum + value, 0) / (values.length || 1);
  const worst = (values: number[]) => Math.max(1, ...values);
  const line = (name: string, values: number[], colour: string, type: 'solid' | 'dashed') => ({
    type: 'line' as const,
    name,
    data: values,
    symbolSize: 7,
    lineStyle: { width: 2.5, color: colour, type },
    itemStyle: { color: colour },
  });
  return {
    ...base(look),
    grid: { left: 64, right: 24, top: 48, bottom: 56 },
    legend: { top: 0, textStyle: { color: look.muted } },
    xAxis: { ...axis(look, 'ranks'), type: 'category', data: names },
    yAxis: {
      ...axis(look, ''),
      type: 'value',
      min: 1,
      axisLabel: { color: look.muted, formatter: '{value} ×' },
    },
    tooltip: {
      ...(base(look)['tooltip'] as object),
      trigger: 'axis',
      valueFormatter: (value: number) => `${times(value)} the mean`,
    },
    series: [
      line('consecutive, worst layer', over('consecutive', worst), look.warm, 'solid'),
      line('consecutive, mean of layers', over('consecutive', mean), look.accent, 'solid'),
      line('placed by load, worst layer', over('placed', worst), look.warm, 'dashed'),
      line('placed by load, mean of layers', over('placed', mean), look.accent, 'dashed'),
    ],
  };
}

const charts: [id: string, option: (look: Colours) => EChartsCoreOption][] = [
  ['load', loadChart],
  ['confidence', confidenceChart],
  ['drops', dropsChart],
  ['balance', balanceChart],
];

const drawn = charts.flatMap(([id, option]) => {
  const element = document.getElementById(id);
  return element === null ? [] : [{ chart: init(element), option }];
});

function draw(): void {
  const look = colours();
  for (const { chart, option } of drawn) chart.setOption(option(look), { notMerge: true });
}

draw();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
addEventListener('resize', () => {
  for (const { chart } of drawn) chart.resize();
});
document.documentElement.dataset['charts'] = String(drawn.length);
