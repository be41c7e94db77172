// Every row of the table of fields: what it becomes, what it refuses, and what it ignores.
import { describe, expect, test } from 'vitest';
import type { ApiError } from '../../src/server/errors.js';
import { fields } from '../../src/server/fields.js';
import { readRequest } from '../../src/server/read_request.js';
import type { Route } from '../../src/server/wanted.js';

const needed = {
  chat: { messages: [{ role: 'user', content: 'x' }] },
  completions: { prompt: 'x' },
};

function read(route: Route, more: object, unknown: string[] = []) {
  return readRequest({ ...needed[route], ...more }, route, undefined, (name) => unknown.push(name));
}

function refusal(route: Route, more: object): ApiError {
  try {
    read(route, more);
  } catch (error) {
    return error as ApiError;
  }
  throw new Error(`Expected ${JSON.stringify(more)} to be refused`);
}

/** For each field: what is right, what it becomes, and what is wrong. */
const examples: Record<string, [value: unknown, becomes: object, ...wrong: unknown[]]> = {
  model: ['m', { model: 'm' }, 3],
  max_tokens: [5, { options: { maxTokens: 5 } }, 0, 1.5, '5'],
  max_completion_tokens: [5, { options: { maxTokens: 5 } }, 0],
  min_tokens: [5, { options: { minTokens: 5 } }, -1],
  temperature: [0, { options: { temperature: 0 } }, -1, 'hot'],
  top_p: [0.5, { options: { topP: 0.5 } }, 0, 1.1],
  top_k: [-1, { options: { topK: 0 } }, -2, 0.5],
  min_p: [0.1, { options: { minP: 0.1 } }, 2],
  repetition_penalty: [1.1, { options: { repetitionPenalty: 1.1 } }, 0],
  repeat_penalty: [1.1, { options: { repetitionPenalty: 1.1 } }, 0],
  presence_penalty: [-2, { options: { presencePenalty: -2 } }, 2.1],
  frequency_penalty: [2, { options: { frequencyPenalty: 2 } }, -2.1],
  logit_bias: [{ 7: -100 }, { options: { logitBias: { 7: -100 } } }, { 7: 101 }, { a: 1 }, [1]],
  stop: [['a', 'b'], { options: { stop: ['a', 'b'] } }, '', ['a', 1], 4],
  stop_token_ids: [[3], { options: { stopTokens: [3] } }, 3, [-1]],
  ignore_eos: [true, { options: { ignoreEos: true } }, 1],
  seed: [-1, { options: { seed: 2n ** 64n - 1n } }, 0.5, 2 ** 60],
  n: [2, { n: 2 }, 0, 129],
  stream: [true, { stream: true }, 'yes'],
  tools: [[], { options: {} }, [{ type: 'search' }], [{ type: 'function', function: {} }], {}],
  tool_choice: ['none', { toolChoice: 'none' }, 'required', { type: 'function' }],
  parallel_tool_calls: [false, { severalToolCalls: false }, 0],
  reasoning_effort: ['low', { options: { chatTemplateOptions: { reasoning_effort: 'low' } } }, 3],
  chat_template_kwargs: [{ a: 1 }, { options: { chatTemplateOptions: { a: 1 } } }, 'a'],
  include_stop_str_in_output: [true, { stopInText: true }, 1],
  return_tokens_as_token_ids: [true, { tokensAsIds: true }, 1],
  echo: [true, { echo: true }, 1],
  'logprobs of chat': [true, { logprobs: true, options: { logprobs: 0 } }, 1],
  'logprobs of completions': [3, { options: { logprobs: 3 } }, 21, true],
  messages: [
    [{ role: 'user', content: [{ type: 'text', text: 'x' }] }],
    { messages: [{ role: 'user' }] },
    [],
    'hello',
    [{ content: 'x' }],
    [{ role: 'user', content: 3 }],
    [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }],
    [{ role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f' } }] }],
  ],
  prompt: [[[1, 2], [3]], { prompts: [[1, 2], [3]] }, [], [[]], ['a', 1], [1, 'a'], [1.5], {}],
};
/** Those that go with another one have tests below. */
const together = ['stream_options', 'top_logprobs'];

const rows = fields.flatMap((row) =>
  (row.of === 'both' ? (['chat', 'completions'] as const) : [row.of]).map(
    (route) => [row.name, route, row] as const,
  ),
);

describe('fields of requests', () => {
  test('each is named once for a route', () => {
    const names = rows.map(([name, route]) => `${name} ${route}`);
    expect(new Set(names).size).toBe(names.length);
  });

  const takenRows = rows.filter(([name, , { is }]) => is === 'taken' && !together.includes(name));
  test.each(takenRows)(
    '%s of %s becomes what it says, or is refused by its name',
    (name, route) => {
      const [value, becomes, ...wrong] = examples[name] ?? examples[`${name} of ${route}`] ?? [];
      expect(read(route, { [name]: value })).toMatchObject(becomes ?? { missing: name });
      expect(wrong.length).toBeGreaterThan(0);
      for (const one of wrong) {
        const { status, param, message, type } = refusal(route, { [name]: one });
        expect([one, status, param, type]).toEqual([one, 400, name, 'invalid_request_error']);
        expect(message).toContain(name);
      }
    },
  );

  const refusedRows = rows.filter(([, , { is }]) => is === 'refused');
  test.each(refusedRows)(
    '%s of %s is refused by its name, but for what changes nothing',
    (name, route, row) => {
      const plain = read(route, { seed: 1 });
      const error = refusal(route, { [name]: { surprising: 1 } });
      expect(error).toMatchObject({ status: 400, param: name, code: 'unsupported_parameter' });
      expect(error.message).toMatch(/ is not supported: expected it to be left out/);
      for (const value of [null, ...(row.is === 'refused' ? row.harmless : [])])
        expect(read(route, { [name]: value, seed: 1 })).toEqual(plain);
    },
  );

  const ignoredRows = rows.filter(([, , { is }]) => is === 'ignored');
  test.each(ignoredRows)('%s of %s changes nothing and is no unknown field', (name, route) => {
    const unknown: string[] = [];
    expect(read(route, { [name]: 'x', seed: 1 }, unknown)).toEqual(read(route, { seed: 1 }));
    expect(unknown).toEqual([]);
  });

  test.each(['chat', 'completions'] as const)('null is a field of %s that is left out', (route) => {
    const names = rows.filter(([name, of]) => of === route && !(name in needed[route]));
    const nothing = Object.fromEntries(names.map(([name]) => [name, null]));
    expect(read(route, { ...nothing, seed: 1 })).toEqual(read(route, { seed: 1 }));
  });

  test('a field that is not known is told, and one of the other route is not known', () => {
    const unknown: string[] = [];
    read('chat', { frobnicate: 1, echo: true }, unknown);
    expect(unknown).toEqual(['frobnicate', 'echo']);
  });

  test('what a request must have is asked for', () => {
    expect(refusal('chat', { messages: null })).toMatchObject({ param: 'messages' });
    expect(refusal('completions', { prompt: undefined })).toMatchObject({ param: 'prompt' });
    expect(() => readRequest([], 'chat', undefined, () => {})).toThrow(/the body/);
  });

  test('fields that need one another', () => {
    expect(read('chat', { logprobs: true, top_logprobs: 5 }).options.logprobs).toBe(5);
    expect(refusal('chat', { top_logprobs: 5 })).toMatchObject({ param: 'top_logprobs' });
    expect(refusal('chat', { logprobs: true, top_logprobs: 21 })).toMatchObject({
      param: 'top_logprobs',
    });
    const options = { stream_options: { include_usage: true } };
    expect(read('chat', { stream: true, ...options }).usageInStream).toBe(true);
    expect(refusal('chat', options)).toMatchObject({ param: 'stream_options' });
    for (const stream_options of [{ include_usage: 1 }, { continuous_usage_stats: true }, 3])
      expect(refusal('chat', { stream: true, stream_options })).toMatchObject({
        param: 'stream_options',
      });
    expect(refusal('completions', { echo: true, logprobs: 1 })).toMatchObject({
      param: 'logprobs',
    });
  });

  test('variables of a template come together', () => {
    const wanted = read('chat', { reasoning_effort: 'low', chat_template_kwargs: { a: 1 } });
    expect(wanted.options.chatTemplateOptions).toEqual({ reasoning_effort: 'low', a: 1 });
  });
});
