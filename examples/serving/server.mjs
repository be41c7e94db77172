// Serves one MoE layer over HTTP: batches, back-pressure, cancellation, health and metrics.
//   node server.mjs CHECKPOINT [LAYER]       PORT, HOST, MAX_BATCH_TOKENS and MAX_WAITING_TOKENS are read from the environment
import { pathToFileURL } from 'node:url';
import Fastify from 'fastify';
import { MoELayer } from 'node-moe';
import { Batcher, BusyError, ClosingError } from './batcher.mjs';
import { createMetrics } from './metrics.mjs';

const binary = 'application/octet-stream';

/**
 * @param {MoELayer} layer must be dropless, as Hugging Face models are: capacity would let a request's tokens take the
 *   places of another's
 * @param {{ maxBatchTokens?: number, maxWaitingTokens?: number, logger?: boolean }} options
 */
export function createServer(layer, options = {}) {
  const { maxBatchTokens = 256, maxWaitingTokens = 2048, logger = false } = options;
  if (layer.config.capacityFactor > 0) throw new Error('Expected a dropless layer');
  const rowBytes = layer.hiddenSize * Float32Array.BYTES_PER_ELEMENT;
  const metrics = createMetrics(() => batcher.waitingTokens);
  const batcher = new Batcher(layer, { maxBatchTokens, maxWaitingTokens }, metrics.countBatch);

  const app = Fastify({
    logger,
    bodyLimit: maxBatchTokens * rowBytes,
    forceCloseConnections: 'idle',
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(binary, { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );

  // Rows of float32, little-endian, in and out: [T, H].
  app.post('/v1/forward', async (request, reply) => {
    const { body } = request;
    if (!Buffer.isBuffer(body) || body.length === 0 || body.length % rowBytes !== 0)
      return reply
        .code(400)
        .send({ error: `Expected ${binary} of a multiple of ${rowBytes} bytes` });
    const gone = new AbortController();
    request.raw.socket.once('close', () => gone.abort());
    const output = await batcher.forward(floatsOf(body), gone.signal);
    return reply
      .type(binary)
      .send(Buffer.from(output.buffer, output.byteOffset, output.byteLength));
  });

  app.get('/healthz', async () => ({ status: 'alive' }));
  app.get('/readyz', async (_request, reply) =>
    batcher.closing
      ? reply.code(503).send({ status: 'closing' })
      : { status: 'ready', device: layer.device },
  );
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );

  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof BusyError || error instanceof ClosingError)
      return reply.code(503).header('retry-after', '1').send({ error: error.message });
    if (error.name === 'AbortError') return reply.code(499).send(); // nobody hears it
    if (error.statusCode !== undefined && error.statusCode < 500)
      return reply.code(error.statusCode).send({ error: error.message });
    app.log.error(error);
    return reply.code(500).send({ error: 'internal error' });
  });
  app.addHook('onResponse', async (request, reply) => {
    if (request.url === '/v1/forward') metrics.countRequest(reply.statusCode);
  });
  // Runs before the listening socket is closed: requests that came are answered, others are told to go elsewhere.
  app.addHook('preClose', () => batcher.close());
  return app;
}

/** A body's floats. They are copied where the buffer does not begin at a multiple of 4 bytes. */
function floatsOf(body) {
  const { buffer, byteOffset, byteLength } =
    body.byteOffset % 4 === 0 ? body : Uint8Array.from(body);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}

async function main([checkpoint, number]) {
  const { PORT = '8080', HOST = '127.0.0.1', MAX_BATCH_TOKENS, MAX_WAITING_TOKENS } = process.env;
  const layer = await MoELayer.load(
    checkpoint,
    number === undefined ? {} : { layer: Number(number) },
  );
  const app = createServer(layer, {
    logger: true,
    ...(MAX_BATCH_TOKENS && { maxBatchTokens: Number(MAX_BATCH_TOKENS) }),
    ...(MAX_WAITING_TOKENS && { maxWaitingTokens: Number(MAX_WAITING_TOKENS) }),
  });
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, async () => {
      await app.close();
      await layer.close();
    });
  await app.listen({ port: Number(PORT), host: HOST });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await main(process.argv.slice(2));
