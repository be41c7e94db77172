import type OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { chat, post, type Started, start } from './support.js';

type Params = OpenAI.ChatCompletionCreateParamsNonStreaming;
type Chunk = OpenAI.ChatCompletionChunk;

/** Asks for the same twice, whole and streamed. */
async function both({ client }: Started, params: Omit<Params, 'model'> & Record<string, unknown>) {
  const body = { model: 'story', seed: 7, ...params } as Params;
  const whole = await client.chat.completions.create(body);
  const chunks: Chunk[] = [];
  const stream = await client.chat.completions.create({ ...body, stream: true });
  for await (const chunk of stream) chunks.push(chunk);
  const choices = whole.choices.map(({ index }) => {
    const of = chunks.flatMap((chunk) => chunk.choices.filter((one) => one.index === index));
    const deltas = of.map(
      ({ delta }) =>
        delta as OpenAI.ChatCompletionChunk.Choice.Delta & { reasoning_content?: string },
    );
    return {
      text: deltas.map(({ content }) => content ?? '').join(''),
      reasoning: deltas.map(({ reasoning_content: text }) => text ?? '').join(''),
      calls: deltas.flatMap(({ tool_calls }) => tool_calls ?? []),
      logprobs: of.flatMap(({ logprobs }) => logprobs?.content ?? []),
      finish: of.flatMap(({ finish_reason }) => finish_reason ?? []),
      first: deltas[0],
    };
  });
  return { whole, chunks, choices };
}

describe('/v1/chat/completions', () => {
  test('answers, and streams the same in the events that clients know', async () => {
    const started = await start();
    const { whole, chunks, choices } = await both(started, {
      messages: chat('a story'),
      max_tokens: 12,
      ignore_eos: true,
    });
    expect(whole).toMatchObject({ object: 'chat.completion', model: 'story', seed: 7 });
    expect(whole.id).toMatch(/^chatcmpl-/);
    const [choice] = whole.choices;
    expect(choice?.message).toEqual({
      role: 'assistant',
      content: expect.any(String),
      refusal: null,
    });
    expect(choice).toMatchObject({ index: 0, logprobs: null, finish_reason: 'length' });
    expect(whole.usage).toEqual({
      prompt_tokens: 25,
      completion_tokens: 12,
      total_tokens: 37,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 0 },
    });
    expect(choices[0]?.text).toBe(choice?.message.content);
    expect(choices[0]?.text).not.toBe('');
    expect(choices[0]?.first).toEqual({ role: 'assistant', content: '' });
    expect(choices[0]?.finish).toEqual(['length']);
    expect(
      new Set(chunks.map(({ id, created, object }) => `${id} ${created} ${object}`)).size,
    ).toBe(1);
    expect(chunks[0]?.object).toBe('chat.completion.chunk');
    expect(chunks.at(-1)?.choices[0]?.delta).toEqual({});
    expect(chunks.every((chunk) => chunk.choices.length === 1 && !('usage' in chunk))).toBe(true);
  });

  test('the usage comes in an event of its own, and says what the cache had', async () => {
    const started = await start();
    const { whole, chunks } = await both(started, { messages: chat('once more'), max_tokens: 5 });
    expect(whole.usage?.prompt_tokens_details?.cached_tokens).toBe(0);
    expect(chunks.length).toBeGreaterThan(2);
    const stream = await started.client.chat.completions.create({
      model: 'story',
      messages: chat('once more'),
      max_tokens: 5,
      stream: true,
      stream_options: { include_usage: true },
    });
    const usages = [];
    for await (const { usage, choices } of stream) usages.push([choices.length, usage]);
    expect(usages.slice(0, -1).every(([count, usage]) => count === 1 && usage === null)).toBe(true);
    expect(usages.at(-1)).toEqual([
      0,
      expect.objectContaining({ prompt_tokens: 27, prompt_tokens_details: { cached_tokens: 16 } }),
    ]);
  });

  test('n answers differ, have one prompt, and are those of their seed again', async () => {
    const started = await start();
    const ask = { messages: chat('three'), n: 3, max_tokens: 8 };
    const { whole, choices } = await both(started, ask);
    const texts = whole.choices.map(({ message }) => message.content);
    expect(new Set(texts).size).toBe(3);
    expect(choices.map(({ text }) => text)).toEqual(texts);
    expect(whole.usage).toMatchObject({ prompt_tokens: 23, completion_tokens: 24 });
    const free = await started.client.chat.completions.create({ model: 'story', ...ask });
    const { seed } = free as unknown as { seed: number };
    const again = await started.client.chat.completions.create({ model: 'story', ...ask, seed });
    expect(again.choices).toEqual(free.choices);
    const other = await started.client.chat.completions.create({ model: 'story', ...ask });
    expect(other.choices).not.toEqual(free.choices);
  });

  test('log-probabilities are those of the tokens, with the bytes of halves of characters', async () => {
    const started = await start();
    const { whole, choices } = await both(started, {
      messages: chat('numbers'),
      max_tokens: 40,
      ignore_eos: true,
      logprobs: true,
      top_logprobs: 2,
    });
    const content = whole.choices[0]?.logprobs?.content ?? [];
    expect(content).toHaveLength(40);
    expect(choices[0]?.logprobs).toEqual(content);
    const bytes = content.flatMap((one) => one.bytes ?? []);
    expect(Buffer.from(bytes).toString()).toBe(whole.choices[0]?.message.content);
    expect(content.some(({ token }) => token.includes('\ufffd'))).toBe(true);
    expect(content[0]?.top_logprobs).toHaveLength(2);
    expect(content[0]?.top_logprobs[0]?.token).toBe(content[0]?.token);
    const ids = await both(started, {
      messages: chat('numbers'),
      max_tokens: 2,
      logprobs: true,
      return_tokens_as_token_ids: true,
    });
    expect(ids.choices[0]?.logprobs[0]?.token).toMatch(/^token_id:\d+$/);
    expect(ids.choices[0]?.logprobs[0]?.top_logprobs).toEqual([]);
  });

  test('reasoning comes apart from the text', async () => {
    const started = await start();
    const { whole, choices } = await both(started, { messages: chat('[think]'), max_tokens: 9 });
    const message = whole.choices[0]?.message as unknown as Record<string, string>;
    expect(message['reasoning_content']).not.toBe('');
    expect(choices[0]?.reasoning).toBe(message['reasoning_content']);
    expect(choices[0]?.text).toBe(message['content']);
    expect(whole.usage?.completion_tokens_details?.reasoning_tokens).toBe(3);
  });

  const tools: OpenAI.ChatCompletionTool[] = ['weather', 'time'].map((name) => ({
    type: 'function',
    function: { name, parameters: { type: 'object' } },
  }));

  test('tools are called', async () => {
    const started = await start();
    const ask = { messages: chat('[call]'), tools, max_tokens: 4, ignore_eos: true };
    const { whole, choices } = await both(started, ask);
    expect(whole.choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: null,
        tool_calls: [
          {
            id: 'call_0',
            type: 'function',
            function: { name: 'weather', arguments: '{"about":"weather"}' },
          },
          { id: 'call_1', type: 'function', function: { name: 'time' } },
        ],
      },
    });
    expect(choices[0]?.calls.slice(0, 2)).toEqual([
      { index: 0, id: 'call_0', type: 'function', function: { name: 'weather', arguments: '' } },
      { index: 0, function: { arguments: '{"about":' } },
    ]);
    expect(choices[0]?.finish).toEqual(['tool_calls']);
    const final = await started.client.chat.completions
      .stream({ model: 'story', seed: 7, ...ask })
      .finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls).toMatchObject(
      whole.choices[0]?.message.tool_calls ?? [],
    );
    const one = await both(started, { ...ask, parallel_tool_calls: false });
    expect(one.whole.choices[0]?.message.tool_calls).toHaveLength(1);
    expect(one.choices[0]?.calls.every(({ index }) => index === 0)).toBe(true);
    const none = await both(started, { ...ask, tool_choice: 'none' });
    expect(none.whole.choices[0]?.message.tool_calls).toBeUndefined();
    expect(none.whole.choices[0]?.finish_reason).toBe('length');
  });

  test('a conversation with calls and their results is taken as it is', async () => {
    const { client, model } = await start();
    const messages: OpenAI.ChatCompletionMessageParam[] = [
      { role: 'system', content: 'be short' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'and' },
          { type: 'text', text: ' now?' },
        ],
      },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'a', type: 'function', function: { name: 'time', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'a', content: 'noon' },
    ];
    await client.chat.completions.create({ model: 'story', messages, tools, max_tokens: 2 });
    expect(model.asked[0]).toMatchObject({ messages, tools });
  });

  test.each([
    ['a template', 'system'],
    ['{% if developer %}', 'developer'],
  ])('with %s the role developer is %s', async (chatTemplate, role) => {
    const { client, model } = await start({}, { chatTemplate });
    const messages = [{ role: 'developer' as const, content: 'be short' }, ...chat('hello')];
    await client.chat.completions.create({ model: 'story', messages, max_tokens: 2 });
    expect(model.asked[0]?.messages?.[0]?.role).toBe(role);
  });

  test('a model without a chat template says so', async () => {
    const { client } = await start({}, { chatTemplate: undefined });
    await expect(
      client.chat.completions.create({ model: 'story', messages: chat('hello') }),
    ).rejects.toThrow(/400 The model has no chat template/);
  });

  test('chats that name no number have the one of the server', async () => {
    const { client, model } = await start({ defaultMaxTokens: 3 });
    const { usage } = await client.chat.completions.create({
      model: 'story',
      messages: chat('short'),
      ...({ ignore_eos: true } as object),
    });
    expect(usage?.completion_tokens).toBe(3);
    await client.chat.completions.create({
      model: 'story',
      messages: chat('short'),
      max_tokens: 9,
      max_completion_tokens: 5,
    });
    expect(model.asked.map(({ maxTokens }) => maxTokens)).toEqual([3, 5]);
  });

  test('fields that are null, that change nothing or that nobody knows are passed over', async () => {
    const { url } = await start();
    const body = { messages: chat('x'), max_tokens: 1, user: 'me', frobnicate: 3, top_p: null };
    expect((await post(url, '/v1/chat/completions', body)).status).toBe(200);
  });
});
