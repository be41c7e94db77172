// One MoE layer over HTTP: batches, back-pressure, cancellation, health and metrics.
import Fastify, { LogController } from 'fastify';
import { Batcher, BusyError, ClosingError } from './batcher.mjs';
import { Connections, clientGone } from './connections.mjs';
import { createMetrics } from './metrics.mjs';

const binary = 'application/octet-stream';

/**
 * @param {import('node-moe').MoELayer} layer must be dropless, as Hugging Face models are: capacity would let a request's
 *   tokens take the places of another's
 * @param {object} options
 * @param {number} [options.maxBatchTokens] tokens of one forward, and of one request
 * @param {number} [options.maxWaitingTokens] tokens in the queue before further ones are refused
 * @param {number} [options.requestSeconds] how long a request may take to arrive
 * @param {number} [options.drainSeconds] how long clients may take, once the server goes down, to send what they have begun
 *   and to read their answers
 * @param {boolean} [options.logger]
 */
export function createApp(layer, options = {}) {
  const { maxBatchTokens = 256, maxWaitingTokens = 2048, logger = false } = options;
  const { requestSeconds = 30, drainSeconds = 10 } = options;
  if (layer.config.capacityFactor > 0 || layer.config.expertCapacity !== null)
    throw new Error('Expected a dropless layer');
  const requestMs = requestSeconds * 1000;
  const rowBytes = layer.hiddenSize * Float32Array.BYTES_PER_ELEMENT;
  const metrics = createMetrics(() => batcher.waitingTokens);
  const batcher = new Batcher(layer, { maxBatchTokens, maxWaitingTokens }, metrics.countBatch);
  const connections = new Connections(metrics.countRequest);

  const app = Fastify({
    logger,
    // The metrics count requests; the log is for what goes wrong.
    logController: new LogController({ disableRequestLogging: true }),
    http: { headersTimeout: requestMs, connectionsCheckingInterval: Math.min(1000, requestMs / 2) },
    bodyLimit: maxBatchTokens * rowBytes,
    forceCloseConnections: 'idle',
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(binary, { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );

  app.decorateRequest('gone', null);
  const onRequest = async (request, reply) => {
    request.gone = connections.follow(request.raw, reply.raw);
    // Node's own requestTimeout forgets requests whose body is being read.
    const late = () =>
      reply.sent ||
      reply.code(408).header('connection', 'close').send({ error: 'The body did not arrive' });
    const timer = setTimeout(late, requestMs).unref();
    request.raw.once('close', () => clearTimeout(timer)); // it has been read, or has failed
  };
  // Rows of float32, little-endian, in and out: [T, H].
  app.post('/v1/forward', { onRequest }, async (request, reply) => {
    const { body } = request;
    if (!Buffer.isBuffer(body) || body.length === 0 || body.length % rowBytes !== 0)
      return reply
        .code(400)
        .send({ error: `Expected ${binary} of a multiple of ${rowBytes} bytes` });
    const output = await batcher.forward(floatsOf(body), request.gone);
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
    if (error.name === 'AbortError') return reply.code(clientGone).send(); // nobody hears it
    if (error.statusCode !== undefined && error.statusCode < 500)
      return reply.code(error.statusCode).send({ error: error.message });
    app.log.error(error);
    return reply.code(500).send({ error: 'internal error' });
  });
  // Runs before the listening socket is closed: requests that came are answered, others are told to go elsewhere.
  app.addHook('preClose', async () => {
    await batcher.close();
    const timer = setTimeout(() => app.server.closeAllConnections(), drainSeconds * 1000);
    app.server.once('close', () => clearTimeout(timer));
  });
  return app;
}

/** A body's floats. They are copied where the buffer does not begin at a multiple of 4 bytes. */
function floatsOf(body) {
  const { buffer, byteOffset, byteLength } =
    body.byteOffset % 4 === 0 ? body : Uint8Array.from(body);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
