// The server over a really trained, very small model: what it streams is what the model generates.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MoEModel } from '../../src/index.js';
import { type ModelServer, serve } from '../../src/server/serve.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { clientOf, connectTo, metricsOf, post, received, requestBytes, until } from './support.js';

let model: MoEModel;
let server: ModelServer;
let client: OpenAI;

beforeAll(async () => {
  model = await MoEModel.load(join(root, tinyMixtral), { device: 'cpu', kvTokens: 1536 });
  server = await serve(model, { port: 0, modelName: 'tiny' });
  client = clientOf(server);
});
afterAll(async () => {
  await server?.close();
  await model?.close();
});

const prompts = [
  'To be or not',
  'the king of ',
  'A',
  'said the ',
  'one two three ',
  'is it ',
  'my ',
  'O ',
];
const ask = { max_tokens: 60, temperature: 0.9, top_p: 0.95 };

async function streamed(prompt: string | number[], seed: number) {
  const stream = await client.completions.create({
    ...{ model: 'tiny', prompt, seed, stream: true, logprobs: 2 },
    ...ask,
  });
  let text = '';
  const logprobs: number[] = [];
  for await (const { choices } of stream) {
    text += choices[0]?.text;
    logprobs.push(...(choices[0]?.logprobs?.token_logprobs ?? []));
  }
  return { text, logprobs };
}

const alone = (prompt: string, seed: number) =>
  model.complete({ prompt, seed, maxTokens: 60, temperature: 0.9, topP: 0.95, logprobs: 2 });

describe('a served model', () => {
  test('streams the text of `generate`, bit for bit, for texts and tokens', async () => {
    const direct = await alone('To be or not', 5);
    expect(direct.text.length).toBeGreaterThan(10);
    const expected = {
      text: direct.text,
      logprobs: direct.logprobs?.map(({ logprob }) => logprob),
    };
    expect(await streamed('To be or not', 5)).toEqual(expected);
    const tokens = await model.tokenizer.encode('To be or not');
    expect(await streamed([...tokens], 5)).toEqual(expected);
    expect(await streamed('To be or not', 6)).not.toEqual(expected);
  });

  test('8 clients at once have what each has alone', async () => {
    const together = await Promise.all(prompts.map((prompt, i) => streamed(prompt, i)));
    for (const [i, prompt] of prompts.entries()) {
      const { text, logprobs } = await alone(prompt, i);
      expect(together[i]).toEqual({ text, logprobs: logprobs?.map(({ logprob }) => logprob) });
    }
  });

  test('foretells a text that it is given as it did when it wrote it', async () => {
    const written = await alone('To be or not', 5);
    const tokens = [...(await model.tokenizer.encode('To be or not')), ...written.tokens];
    const { choices } = await client.completions.create({
      ...{ model: 'tiny', prompt: tokens, echo: true, logprobs: 0, max_tokens: 1 },
    });
    const told = choices[0]?.logprobs?.token_logprobs ?? [];
    expect(told).toHaveLength(tokens.length + 1);
    expect(told[0]).toBeNull();
    const again = told.slice(-1 - written.tokens.length, -1);
    expect(again).toEqual(written.logprobs?.map(({ logprob }) => logprob));
  });

  test('clients that are killed change nothing for the others, and hold nothing', async () => {
    const long = { ...ask, prompt: prompts, n: 4, max_tokens: 150, stream: true, ignore_eos: true };
    const killed = await Promise.all(
      [0, 1, 2].map(async () => {
        const socket = await connectTo(server.url);
        socket.write(requestBytes('/v1/completions', long));
        return socket;
      }),
    );
    await Promise.all(killed.map((socket) => received(socket, (text) => text.includes('data: '))));
    const others = prompts.map((prompt, i) => streamed(prompt, i));
    for (const socket of killed) socket.destroy();
    for (const [i, other] of others.entries())
      expect((await other).text).toBe((await alone(prompts[i] as string, i)).text);
    await until(
      () => {
        const { running, waiting, kvTokensUsed } = model.inUse();
        return { running, waiting, kvTokensUsed };
      },
      { running: 0, waiting: 0, kvTokensUsed: 0 },
    );
  });

  test('says what its experts did, and what the cache had', async () => {
    const { usage } = await client.completions.create({
      model: 'tiny',
      prompt: 'the very same beginning of a text that is long enough',
      max_tokens: 4,
    });
    const again = await client.completions.create({
      model: 'tiny',
      prompt: 'the very same beginning of a text that is long enough',
      max_tokens: 4,
    });
    expect(usage?.prompt_tokens).toBe(53);
    expect(again.usage?.prompt_tokens_details?.cached_tokens).toBe(48);
    const metrics = await metricsOf(server.url);
    for (const [layer, experts] of model.load().entries())
      for (const [expert, served] of experts.entries())
        expect(metrics.get(`moe_expert_tokens_total{layer="${layer}",expert="${expert}"}`)).toBe(
          served,
        );
    expect(metrics.get('moe_prefix_cache_hits_total{model_name="tiny"}')).toBeGreaterThanOrEqual(
      48,
    );
  });

  test('refuses what does not fit, with both numbers', async () => {
    const error = await client.completions
      .create({ model: 'tiny', prompt: 'x'.repeat(100), max_tokens: 100 })
      .then(
        () => undefined,
        (one) => one,
      );
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ code: 'context_length_exceeded' });
    expect(error.message).toMatch(/192 .* 100 and 100/);
    const chat = client.chat.completions.create({
      model: 'tiny',
      messages: [{ role: 'user', content: 'x' }],
    });
    await expect(chat).rejects.toThrow(/no chat template/);
    const empty = await post(server.url, '/v1/completions', { prompt: '' });
    expect([empty.status, (await empty.json()).error.code]).toEqual([400, null]);
  });

  test('tokens of the checkpoint’s own tokenizer, and back', async () => {
    const { tokens } = await (await post(server.url, '/tokenize', { prompt: 'fox 狐' })).json();
    expect(tokens).toEqual([...(await model.tokenizer.encode('fox 狐'))]);
    const { prompt } = await (await post(server.url, '/detokenize', { tokens })).json();
    expect(prompt).toBe('fox 狐');
  });
});

/** The checkpoint with only these files of it. */
async function checkpointOf(files: RegExp): Promise<string> {
  const folder = await temporaryFolder();
  for (const file of readdirSync(join(root, tinyMixtral)))
    if (files.test(file)) copyFileSync(join(root, tinyMixtral, file), join(folder, file));
  return folder;
}

test('a checkpoint with a chat template chats, and a full queue is 429', async () => {
  const folder = await checkpointOf(/^(config|model|tokenizer)\W/);
  const template = '{% for m in messages %}{{ m.content }}\n{% endfor %}';
  writeFileSync(join(folder, 'chat_template.jinja'), template);
  const room = { kvTokens: 192, maxWaiting: 1 };
  await using chatting = await MoEModel.load(folder, { device: 'cpu', ...room });
  await using chats = await serve(chatting, { port: 0 });
  const messages = [{ role: 'user' as const, content: 'To be' }];
  const { choices } = await clientOf(chats).chat.completions.create({
    ...{ model: 'mixtral', messages, temperature: 0, max_tokens: 20 },
  });
  const direct = await chatting.complete({ prompt: 'To be\n', temperature: 0, maxTokens: 20 });
  expect(choices[0]?.message.content).toBe(direct.text);

  // What a template says against a chat is told.
  const whispers = `{{ raise_exception('no whispers') }}`;
  writeFileSync(join(folder, 'chat_template.jinja'), whispers);
  await using strict = await MoEModel.load(folder, { device: 'cpu', ...room });
  await using listens = await serve(strict, { port: 0 });
  const against = await post(listens.url, '/v1/chat/completions', { messages });
  expect([against.status, (await against.json()).error.message]).toEqual([
    400,
    'The chat template failed: no whispers',
  ]);

  // The template knows nothing of calls: tools would be passed over in silence.
  const tools = [{ type: 'function', function: { name: 'time' } }];
  const refused = await post(chats.url, '/v1/chat/completions', { messages, tools });
  expect([refused.status, (await refused.json()).error.message]).toEqual([
    400,
    expect.stringMatching(/`tools` .*form of calls is known/),
  ]);

  const full = await post(chats.url, '/v1/completions', { prompt: 'x', n: 8, max_tokens: 150 });
  expect([full.status, (await full.json()).error.code]).toEqual([429, 'queue_full']);
});

test('a chat with tools is read as the template that writes it says', async () => {
  const folder = await checkpointOf(/^(config|model|tokenizer)\W/);
  const chat_template = [
    { name: 'default', template: 'plain' },
    { name: 'tool_use', template: '{# <tool_call> </think> #}tools<think>' },
  ];
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ chat_template }));
  await using chatting = await MoEModel.load(folder, { device: 'cpu', kvTokens: 192 });
  const ask = { messages: [{ role: 'user', content: 'To be' }], maxTokens: 8 };
  expect(await chatting.complete(ask)).toMatchObject({
    ...{ reasoning: '', text: expect.stringMatching(/./s) },
  });
  const tools = [{ type: 'function' as const, function: { name: 'time' } }];
  expect(await chatting.complete({ ...ask, tools })).toMatchObject({
    ...{ reasoning: expect.stringMatching(/./s), text: '' },
  });
});

test('of a checkpoint without a tokenizer only tokens can be asked for, and it says so', async () => {
  const folder = await checkpointOf(/^(config|model)\W/);
  await using silent = await MoEModel.load(folder, { device: 'cpu' });
  await using tokens = await serve(silent, { port: 0 });
  const ask = { max_tokens: 2, logprobs: 0, return_tokens_as_token_ids: true };
  const answered = await post(tokens.url, '/v1/completions', { ...ask, prompt: [5, 6] });
  expect(answered.status).toBe(200);
  expect((await answered.json()).choices[0].logprobs.tokens[0]).toMatch(/^token_id:\d+$/);
  for (const [path, body] of [
    ['/v1/completions', { ...ask, prompt: 'x' }],
    ['/v1/completions', { ...ask, prompt: [5], echo: true, logprobs: null }],
    ['/tokenize', { prompt: 'x' }],
  ] as const) {
    const refused = await post(tokens.url, path, body);
    expect([refused.status, (await refused.json()).error.message]).toEqual([
      400,
      expect.stringContaining('tokenizer'),
    ]);
  }
});

test('weights that are no numbers fail the requests that read them, and only those', async () => {
  const folder = await checkpointOf(/^(config|model|tokenizer)\W/);
  const file = join(folder, 'model.safetensors');
  const bytes = readFileSync(file);
  const begin = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, begin));
  const [from, to] = header['model.embed_tokens.weight'].data_offsets;
  const row = (to - from) / model.vocabularySize;
  const first = begin + from + row * 'Q'.charCodeAt(0);
  writeFileSync(file, bytes.fill(0xff, first, first + row)); // NaN in every type of floats
  await using ill = await MoEModel.load(folder, { device: 'cpu', kvTokens: 1536 });
  await using server = await serve(ill, { port: 0 });
  const failed = expect(ill.complete({ prompt: 'ask Q', maxTokens: 4 })).rejects.toThrow(
    'Expected the model to give logits that are numbers',
  );
  const refused = post(server.url, '/v1/completions', { prompt: 'ask Q', max_tokens: 4 });
  const { text } = await ill.complete({ prompt: 'ask ', maxTokens: 4, temperature: 0 });
  await failed;
  expect([(await refused).status, server.state]).toEqual([500, 'ready']);
  expect(text).toBe((await model.complete({ prompt: 'ask ', maxTokens: 4, temperature: 0 })).text);
  expect(ill.inUse()).toMatchObject({ running: 0, kvTokensUsed: 0 });
});
