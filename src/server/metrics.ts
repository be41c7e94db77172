import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { GenerateOptions, Piece, TextModel, Usage } from '../model/types.js';

/** How a sequence ended: as the model says, left or stopped, or failed. */
export type Ending = 'stop' | 'length' | 'tool_calls' | 'abort' | 'error';

/** Sizes and times of a request, in vLLM's words and buckets. */
const seconds = {
  firstToken: [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640, 2560,
  ],
  token: [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  ],
  request: [
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
  ],
};
const tokens = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4].map((power) => digit * 10 ** power));
const tokenBuckets = tokens.sort((a, b) => a - b);

/** Names without prefix, what they say, and for histograms their buckets. The documentation has the same rows. */
export const metricRows = {
  num_requests_running: ['gauge', 'Sequences that are computed'],
  num_requests_waiting: ['gauge', 'Sequences that wait'],
  kv_cache_usage_perc: ['gauge', 'Taken part of the cache, 0 to 1'],
  prompt_tokens_total: ['counter', 'Tokens of prompts'],
  generation_tokens_total: ['counter', 'Generated tokens'],
  prefix_cache_queries_total: ['counter', 'Tokens of prompts that were looked for in the cache'],
  prefix_cache_hits_total: ['counter', 'Those of them that were there'],
  request_success_total: [
    'counter',
    'Sequences by `finished_reason`: stop, length, tool_calls, abort (the client left), error',
  ],
  time_to_first_token_seconds: [
    'histogram',
    'From request to first token, waiting included',
    seconds.firstToken,
  ],
  time_per_output_token_seconds: ['histogram', 'Between two tokens', seconds.token],
  inter_token_latency_seconds: ['histogram', 'The same under its newer name', seconds.token],
  e2e_request_latency_seconds: ['histogram', 'From request to last token', seconds.request],
  request_decode_time_seconds: ['histogram', 'From first to last token', seconds.request],
  request_prompt_tokens: ['histogram', 'Tokens of a prompt', tokenBuckets],
  request_generation_tokens: ['histogram', 'Tokens of an answer', tokenBuckets],
  request_params_max_tokens: ['histogram', '`max_tokens` of a request', tokenBuckets],
  request_params_n: ['histogram', '`n` of a request', [1, 2, 5, 10, 20]],
} as const;

type Name = keyof typeof metricRows;
type Of<Kind extends string> = {
  [One in Name]: (typeof metricRows)[One][0] extends Kind ? One : never;
}[Name];

/** What a process says of itself, once for all servers in it: it cannot be taken back. */
let ofProcess: Registry | undefined;

function processRegistry(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
  }
  return ofProcess;
}

/** What the server tells Prometheus. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  readonly #counters = new Map<Name, Counter>();
  readonly #histograms = new Map<Name, Histogram>();
  readonly #label: () => string;
  readonly #model: () => TextModel | undefined;

  constructor(prefix: string, modelName: () => string, model: () => TextModel | undefined) {
    this.#label = modelName;
    this.#model = model;
    const registers = [this.#registry];
    for (const [name, [kind, help, buckets]] of Object.entries(metricRows)) {
      const options = { name: prefix + name, help, labelNames: ['model_name'], registers };
      if (kind === 'histogram')
        this.#histograms.set(name as Name, new Histogram({ ...options, buckets: [...buckets] }));
      else if (kind === 'counter') this.#counters.set(name as Name, counterOf(name, options));
      else this.#gauge(options, name as Of<'gauge'>);
    }
    this.#requests = new Counter({
      name: 'moe_requests_total',
      help: 'Requests by status code; 499: gone before the answer',
      labelNames: ['code'],
      registers,
    });
  }

  #gauge(
    options: { name: string; help: string; labelNames: string[]; registers: Registry[] },
    name: Of<'gauge'>,
  ): void {
    const [label, model] = [this.#label, this.#model];
    new Gauge({
      ...options,
      collect() {
        const use = model()?.inUse();
        if (use === undefined) return;
        const values = {
          num_requests_running: use.running,
          num_requests_waiting: use.waiting,
          kv_cache_usage_perc: use.kvTokens === 0 ? 0 : use.kvTokensUsed / use.kvTokens,
        };
        this.set({ model_name: label() }, values[name]);
      },
    });
  }

  readonly countRequest = (code: number): void => this.#requests.inc({ code });

  count(name: Of<'counter'>, by: number, labels: object = {}): void {
    this.#counters.get(name)?.inc({ model_name: this.#label(), ...labels }, by);
  }

  observe(name: Of<'histogram'>, value: number): void {
    this.#histograms.get(name)?.observe({ model_name: this.#label() }, value);
  }

  async text(): Promise<{ type: string; text: string }> {
    const all = Registry.merge([processRegistry(), this.#registry]);
    const text = await all.metrics();
    return { type: all.contentType, text: text + expertTokens(this.#model()?.load() ?? []) };
  }
}

/** The client for Prometheus would hold up the event loop for many steps: a large model has fifteen thousand experts. */
function expertTokens(load: readonly Float64Array[]): string {
  const name = 'moe_expert_tokens_total';
  const lines = load.flatMap((experts, layer) =>
    Array.from(
      experts,
      (served, expert) => `${name}{layer="${layer}",expert="${expert}"} ${served}`,
    ),
  );
  return [
    `# HELP ${name} Tokens that each expert served`,
    `# TYPE ${name} counter`,
    ...lines,
    '',
  ].join('\n');
}

const counterOf = (name: string, options: { labelNames: string[]; name: string; help: string }) =>
  new Counter({
    ...options,
    labelNames: [
      ...options.labelNames,
      ...(name === 'request_success_total' ? ['finished_reason'] : []),
    ],
  });

/** Measures one sequence. */
export class Meter {
  readonly #metrics: Metrics;
  readonly #begin = performance.now();
  #first: number | undefined;
  #last = 0;
  #generated = 0;

  constructor(metrics: Metrics, { maxTokens }: GenerateOptions) {
    this.#metrics = metrics;
    if (maxTokens !== undefined) metrics.observe('request_params_max_tokens', maxTokens);
  }

  piece({ tokens, usage }: Piece): void {
    if (usage !== undefined) this.#usage(usage);
    if (tokens.length === 0) return;
    const now = performance.now();
    this.#metrics.count('generation_tokens_total', tokens.length);
    this.#generated += tokens.length;
    if (this.#first === undefined) {
      this.#first = now;
      this.#metrics.observe('time_to_first_token_seconds', (now - this.#begin) / 1000);
    } else {
      const each = (now - this.#last) / 1000 / tokens.length;
      for (let i = 0; i < tokens.length; i++) {
        this.#metrics.observe('time_per_output_token_seconds', each);
        this.#metrics.observe('inter_token_latency_seconds', each);
      }
    }
    this.#last = now;
  }

  #usage({ promptTokens, cachedTokens }: Usage): void {
    this.#metrics.count('prompt_tokens_total', promptTokens);
    this.#metrics.count('prefix_cache_queries_total', promptTokens);
    this.#metrics.count('prefix_cache_hits_total', cachedTokens);
    this.#metrics.observe('request_prompt_tokens', promptTokens);
  }

  end(ending: Ending): void {
    this.#metrics.count('request_success_total', 1, { finished_reason: ending });
    if (ending === 'abort' || ending === 'error') return;
    const now = performance.now();
    this.#metrics.observe('e2e_request_latency_seconds', (now - this.#begin) / 1000);
    this.#metrics.observe('request_decode_time_seconds', (now - (this.#first ?? now)) / 1000);
    this.#metrics.observe('request_generation_tokens', this.#generated);
  }
}
