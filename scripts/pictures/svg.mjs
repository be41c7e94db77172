// What pictures are drawn with: SVG elements as text.

export const colours = {
  page: '#ffffff',
  text: '#1c2430',
  muted: '#6b7686',
  line: '#d4dae3',
  kept: '#1f6fb2',
  dropped: '#d1622b',
  group: '#eef3f9',
  other: '#3d8f6a',
};

const attributes = (values) =>
  Object.entries(values)
    .map(([name, value]) => ` ${name}="${value}"`)
    .join('');

export const text = (x, y, content, values = {}) =>
  `<text${attributes({ x, y, fill: colours.text, ...values })}>${content}</text>`;

export const box = (x, y, width, height, values = {}) =>
  `<rect${attributes({ x, y, width, height, rx: 3, fill: 'none', ...values })}/>`;

export const line = (x1, y1, x2, y2, values = {}) =>
  `<line${attributes({ x1, y1, x2, y2, stroke: colours.muted, ...values })}/>`;

export const arrow = (x1, y1, x2, y2, values = {}) =>
  line(x1, y1, x2, y2, { 'marker-end': 'url(#head)', ...values });

/** A whole picture on white, so that it is read on a dark page, too. */
export function picture(width, height, title, elements) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" role="img" aria-label="${title}">
<title>${title}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="${colours.muted}"/></marker></defs>
<rect width="${width}" height="${height}" rx="8" fill="${colours.page}"/>
${elements.flat(3).join('\n')}
</svg>
`;
}
