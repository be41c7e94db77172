// Pictures of what fields do to the flow of data: drawn, not computed.
import { arrow, box, colours, picture, text } from './svg.mjs';

const middle = { 'text-anchor': 'middle' };

function stage(x, y, width, label, fill, height = 26) {
  return [
    box(x, y, width, height, { fill, 'fill-opacity': 0.85 }),
    text(x + width / 2, y + height / 2 + 4, label, { ...middle, fill: '#ffffff', 'font-size': 11 }),
  ];
}

/** Dispatch, experts and combine of one batch in 1, 2 and 4 chunks: the network and the cores work at the same time. */
export function overlapPicture() {
  const [unit, rowHeight] = [168, 70];
  const rows = [1, 2, 4].map((degree, row) => {
    const y = 44 + row * (rowHeight + 18);
    const chunk = unit / degree;
    const label = (name, i) =>
      degree === 4 ? `${i + 1}` : degree === 1 ? name : `${name} ${i + 1}`;
    const elements = [
      text(16, y + 18, degree === 1 ? 'one chunk' : `degree ${degree}`, {
        'font-weight': 600,
      }),
      text(238, y + 18, 'network', { fill: colours.muted, 'text-anchor': 'end' }),
      text(238, y + 50, 'experts', { fill: colours.muted, 'text-anchor': 'end' }),
    ];
    for (let i = 0; i < degree; i++) {
      const work = 246 + (i + 1) * chunk;
      elements.push(stage(246 + i * chunk, y, chunk - 3, label('dispatch', i), colours.kept));
      elements.push(stage(work, y + 32, chunk - 3, label('experts', i), colours.other));
      const back =
        Math.max(246 + unit, work + chunk) +
        (degree > 1 && work + chunk < 246 + unit ? i * chunk : 0);
      const combine = 246 + unit + i * chunk + (degree === 1 ? unit : chunk);
      elements.push(
        stage(Math.max(back, combine), y, chunk - 3, label('combine', i), colours.dropped),
      );
    }
    return elements;
  });
  return picture(780, 300, 'compCommParallel: chunks of a batch travel while others are computed', [
    text(16, 24, 'One batch on one rank, time to the right', { fill: colours.muted }),
    rows,
  ]);
}

/** Four ranks, two of them sharing a model: every row crosses between pairs once instead of twice. */
export function groupWisePicture() {
  const rank = (x, y, name) => [
    box(x, y, 84, 34, { fill: colours.group, stroke: colours.line }),
    text(x + 42, y + 21, name, middle),
  ];
  const pair = (x, title, whole) => {
    const left = [rank(x, 64, 'rank 0'), rank(x, 124, 'rank 1')];
    const right = [rank(x + 190, 64, 'rank 2'), rank(x + 190, 124, 'rank 3')];
    const across = (y, label) => [
      arrow(x + 86, y, x + 186, y, { stroke: colours.kept, 'stroke-width': 2 }),
      text(x + 136, y - 6, label, { ...middle, fill: colours.kept, 'font-size': 11 }),
    ];
    const inside = (at) => [
      arrow(at, 122, at, 100, { stroke: colours.other, 'stroke-width': 2 }),
      arrow(at, 100, at, 122, { stroke: colours.other, 'stroke-width': 2 }),
    ];
    return [
      text(x, 28, title, { 'font-weight': 600, 'font-size': 13 }),
      text(
        x,
        46,
        whole ? 'both ranks of a model send every row' : 'each sends its half, then they share',
        { fill: colours.muted },
      ),
      left,
      right,
      across(81, whole ? 'rows a b c d' : 'rows a b'),
      across(141, whole ? 'rows a b c d' : 'rows c d'),
      whole
        ? []
        : [
            inside(x + 226),
            text(x + 236, 115, 'a b ↔ c d', { fill: colours.other, 'font-size': 11 }),
          ],
    ];
  };
  return picture(640, 180, 'groupWiseA2a: ranks of one model share the rows they send', [
    pair(20, 'groupWiseA2a: false', true),
    pair(344, 'groupWiseA2a: true', false),
  ]);
}

/** A token goes through its K experts and through the always-on one. */
export function sharedPicture() {
  const expert = (y, label, fill) => stage(290, y, 120, label, fill, 28);
  return picture(720, 196, 'sharedExpertNum: an expert that every token takes', [
    box(20, 84, 84, 34, { fill: colours.group, stroke: colours.line }),
    text(62, 105, 'token', middle),
    box(160, 62, 84, 34, { fill: colours.group, stroke: colours.line }),
    text(202, 83, 'router', middle),
    arrow(106, 96, 158, 82),
    arrow(246, 76, 288, 38),
    arrow(246, 84, 288, 82),
    expert(24, 'expert 3', colours.kept),
    expert(68, 'expert 7', colours.kept),
    text(268, 34, '.6', { 'font-size': 11, fill: colours.muted }),
    text(268, 96, '.4', { 'font-size': 11, fill: colours.muted }),
    arrow(106, 108, 288, 146),
    expert(132, 'always on', colours.other),
    text(
      20,
      184,
      'The always-on expert is sharedExpertNum · I wide. With useSharedExpertGating its output is multiplied by a gate of its own.',
      { 'font-size': 11, fill: colours.muted },
    ),
    arrow(412, 38, 508, 84),
    arrow(412, 82, 508, 96),
    arrow(412, 146, 508, 110),
    box(510, 80, 90, 34, { fill: colours.group, stroke: colours.line }),
    text(555, 101, 'sum', middle),
  ]);
}
