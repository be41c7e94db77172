/**
 * What runs beside the event loop: encoding, which takes a fraction of a second for a long text, and chat templates, which are
 * code that a checkpoint brings and may never end. It is text, so that it runs from any bundle and from sources alike.
 */
export const workerSource = `
const { parentPort, workerData } = require('node:worker_threads');
const { readFileSync } = require('node:fs');
const { Tokenizer } = require(workerData.tokenizers);
const read = (source) => typeof source === 'string' ? JSON.parse(readFileSync(source, 'utf8')) : source ?? {};
let tokenizer;
const templates = new Map();
const work = {
  open: () => {
    tokenizer ??= new Tokenizer(read(workerData.tokenizer), read(workerData.config));
  },
  encode: ({ segments, specialTokens }) => {
    work.open();
    const ids = segments.flatMap((text, index) =>
      text === '' ? [] : tokenizer.encode(text, { add_special_tokens: specialTokens && index === 0 }).ids);
    return Int32Array.from(ids);
  },
  render: ({ template, variables }) => {
    const { Template } = require(workerData.jinja);
    if (!templates.has(template)) templates.set(template, new Template(template));
    return templates.get(template).render(variables);
  },
};
parentPort.on('message', ({ kind, argument }) => {
  try {
    parentPort.postMessage({ value: work[kind](argument) });
  } catch (error) {
    parentPort.postMessage({ error: String(error?.message ?? error) });
  }
});
`;
