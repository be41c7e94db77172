import { describe, expect, test } from 'vitest';
import { metricRows } from '../../src/server/metrics.js';
import { chat, metricsOf, post, start, until } from './support.js';

const path = '/v1/chat/completions';

describe('/metrics', () => {
  test('has every metric, of all sequences that there were', async () => {
    const { url, model } = await start();
    const ask = { messages: chat('count the sheep'), max_tokens: 10, ignore_eos: true };
    await post(url, path, { ...ask, n: 2 });
    await (await post(url, path, { ...ask, stream: true })).text();
    await post(url, path, { messages: chat('[fail]'), max_tokens: 10, ignore_eos: true });
    await post(url, path, { n: 0 });
    await until(() => model.inUse().running, 0);
    const metrics = await metricsOf(url);
    const prompt = '<user>count the sheep\n<assistant>'.length;
    const expected = {
      num_requests_running: 0,
      num_requests_waiting: 0,
      kv_cache_usage_perc: 0,
      prompt_tokens_total: 3 * prompt,
      generation_tokens_total: 33,
      prefix_cache_queries_total: 3 * prompt,
      time_to_first_token_seconds_count: 4,
      time_per_output_token_seconds_count: 29,
      inter_token_latency_seconds_count: 29,
      e2e_request_latency_seconds_count: 3,
      request_decode_time_seconds_count: 3,
      request_prompt_tokens_sum: 3 * prompt,
      request_generation_tokens_sum: 30,
      request_params_max_tokens_sum: 40,
      request_params_n_sum: 4,
    };
    for (const [name, value] of Object.entries(expected))
      expect([name, metrics.get(`moe_${name}{model_name="story"}`)]).toEqual([name, value]);
    // The stream came after the others, which all but its last block are in the cache.
    expect(metrics.get('moe_prefix_cache_hits_total{model_name="story"}')).toBeGreaterThanOrEqual(
      32,
    );
    for (const [reason, count] of [
      ['length', 3],
      ['error', 1],
    ])
      expect(
        metrics.get(`moe_request_success_total{model_name="story",finished_reason="${reason}"}`),
      ).toBe(count);
    for (const [code, count] of [
      [200, 2],
      [500, 1],
      [400, 1],
    ])
      expect(metrics.get(`moe_requests_total{code="${code}"}`)).toBe(count);
    const experts = [0, 1, 2, 3].map((expert) =>
      metrics.get(`moe_expert_tokens_total{layer="1",expert="${expert}"}`),
    );
    expect(experts).toEqual([...(model.load()[1] ?? [])]);
    expect(experts.reduce((a = 0, b = 0) => a + b, 0)).toBe(33);
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(
      /\n# HELP moe_expert_tokens_total .+\n# TYPE moe_expert_tokens_total counter\nmoe_\S+ \d+\n/,
    );
    for (const name of Object.keys(metricRows))
      expect([...metrics.keys()].some((key) => key.startsWith(`moe_${name}`))).toBe(true);
    expect(metrics.get('process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  test('shows what runs and waits now', async () => {
    const { url, model } = await start({}, { maxRunning: 1, stepMs: 20, contextLength: 1000 });
    const asks = [1, 2].map(() =>
      post(url, '/v1/completions', { prompt: 'x', max_tokens: 98, ignore_eos: true }),
    );
    await until(() => model.inUse().waiting, 1);
    const metrics = await metricsOf(url);
    expect(metrics.get('moe_num_requests_running{model_name="story"}')).toBe(1);
    expect(metrics.get('moe_num_requests_waiting{model_name="story"}')).toBe(1);
    expect(metrics.get('moe_kv_cache_usage_perc{model_name="story"}')).toBe(0.025);
    void asks;
  });

  test('has the names that dashboards of vLLM know, where that is asked for', async () => {
    const { url } = await start({ metricsPrefix: 'vllm:' });
    await post(url, '/v1/completions', { prompt: 'x', max_tokens: 2, ignore_eos: true });
    const metrics = await metricsOf(url);
    expect(metrics.get('vllm:generation_tokens_total{model_name="story"}')).toBe(2);
    expect(
      metrics.get('vllm:time_to_first_token_seconds_bucket{le="2560",model_name="story"}'),
    ).toBe(1);
    expect(metrics.get('moe_requests_total{code="200"}')).toBe(1);
  });

  test('a client that leaves is counted as such', async () => {
    const { url, client } = await start({}, { stepMs: 2 });
    const ask = { messages: chat('x'), model: 'story', max_tokens: 900, ignore_eos: true };
    const stream = await client.chat.completions.create({ ...ask, stream: true, n: 2 });
    for await (const { choices } of stream) if (choices[0]?.delta.content) break;
    const name = 'moe_request_success_total{model_name="story",finished_reason="abort"}';
    await until(async () => (await metricsOf(url)).get(name), 2);
  });
});
