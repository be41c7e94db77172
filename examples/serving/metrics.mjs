// What the server tells Prometheus.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** @param {() => number} waitingTokens */
export function createMetrics(waitingTokens) {
  const registers = [new Registry()];
  collectDefaultMetrics({ register: registers[0] });
  new Gauge({
    name: 'moe_waiting_tokens',
    help: 'Tokens that wait for a batch',
    registers,
    collect() {
      this.set(waitingTokens());
    },
  });
  const requests = new Counter({
    name: 'moe_requests_total',
    help: 'Requests by status code',
    labelNames: ['code'],
    registers,
  });
  const batchTokens = new Histogram({
    name: 'moe_batch_tokens',
    help: 'Tokens of a batch',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    registers,
  });
  const forward = new Histogram({
    name: 'moe_forward_seconds',
    help: 'Duration of a forward',
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
    registers,
  });
  const expertTokens = new Counter({
    name: 'moe_expert_tokens_total',
    help: 'Tokens that each expert served',
    labelNames: ['expert'],
    registers,
  });
  return {
    registry: registers[0],
    countRequest: (code) => requests.inc({ code }),
    countBatch({ tokens, seconds, expertLoad }) {
      batchTokens.observe(tokens);
      forward.observe(seconds);
      expertLoad.forEach((load, expert) => {
        if (load > 0) expertTokens.inc({ expert }, load);
      });
    },
  };
}
