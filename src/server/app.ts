import Fastify, { type FastifyInstance, type FastifyReply, LogController } from 'fastify';
import type { Authorization } from './authorization.js';
import { answerClientError } from './client_errors.js';
import { ClientGone, type Connections, clientGone, expectReader } from './connections.js';
import { ApiError, asApiError, notFound } from './errors.js';
import { answer, type GenerateContext } from './generate_routes.js';
import type { ServeSettings } from './options.js';
import { expectModel } from './read_request.js';
import { detokenize, tokenize } from './token_routes.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Ends what is done for the request. */
    stop: AbortController;
  }
}

/** What routes have in common. */
export interface AppContext extends GenerateContext {
  settings: ServeSettings;
  connections: Connections;
  authorization: Authorization;
  version: string;
}

/** The routes of a server. */
export function createApp(context: AppContext): FastifyInstance {
  const { served, metrics, connections, authorization, settings } = context;
  const requestMs = settings.requestSeconds * 1000;
  const app = Fastify({
    logger: settings.logger && { level: 'warn', stream: process.stderr },
    // The metrics count requests; the log is for what goes wrong.
    logController: new LogController({ disableRequestLogging: true }),
    http: { headersTimeout: requestMs, connectionsCheckingInterval: Math.min(1000, requestMs / 2) },
    bodyLimit: settings.maxBodyBytes,
    forceCloseConnections: 'idle',
    // Health is still asked for, and errors have one form.
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
  });
  // Nothing but JSON: a page of somebody else can make browsers send text, but not this.
  app.removeContentTypeParser('text/plain');

  app.decorateRequest('stop', null as unknown as AbortController);
  app.addHook('onRequest', async (request, reply) => {
    if (settings.corsOrigin !== undefined)
      reply.headers({ 'access-control-allow-origin': settings.corsOrigin, vary: 'origin' });
    if (request.method !== 'POST') return;
    request.stop = connections.follow(request.raw, reply.raw);
    // Node's own requestTimeout forgets requests whose body is being read.
    const late = () =>
      reply.sent ||
      reply
        .header('connection', 'close')
        .send(new ApiError(408, 'invalid_request_error', 'The body did not arrive in time'));
    const timer = setTimeout(late, requestMs).unref();
    request.raw.once('close', () => clearTimeout(timer)); // it has been read, or has failed
  });
  app.addHook('onSend', async (_request, reply) => {
    expectReader(reply.raw, settings.requestSeconds);
  });
  const guarded = {
    onRequest: async (request: { headers: { authorization?: string | undefined } }) =>
      authorization.expect(request.headers.authorization),
  };

  app.post('/v1/chat/completions', guarded, (request, reply) =>
    answer('chat', request, reply, context),
  );
  app.post('/v1/completions', guarded, (request, reply) =>
    answer('completions', request, reply, context),
  );
  app.post('/tokenize', guarded, ({ body }) => tokenize(served.expectReady(), served.name, body));
  app.post('/detokenize', guarded, async ({ body }) =>
    detokenize(served.expectReady(), served.name, body),
  );

  const modelBody = () => ({
    id: served.name,
    object: 'model',
    created: served.created,
    owned_by: 'node-moe',
    max_model_len: served.expectReady().contextLength,
  });
  app.get('/v1/models', guarded, async () => ({ object: 'list', data: [modelBody()] }));
  app.get<{ Params: { '*': string } }>('/v1/models/*', guarded, async ({ params }) => {
    const body = modelBody();
    expectModel(params['*'], served.name);
    return body;
  });

  app.get('/healthz', async () => ({ status: 'alive' }));
  app.get('/readyz', async (_request, reply) =>
    reply.code(served.state === 'ready' ? 200 : 503).send({ status: served.state }),
  );
  app.get('/health', async () => {
    served.expectReady();
    return { status: 'ok' };
  });
  app.get('/version', async () => ({ version: context.version }));
  app.get('/metrics', async (_request, reply) => {
    const { type, text } = await metrics.text();
    return reply.type(type).send(text);
  });
  if (settings.corsOrigin !== undefined)
    app.options('/*', async (_request, reply) =>
      reply
        .code(204)
        .headers({
          'access-control-allow-methods': 'GET, POST',
          'access-control-allow-headers': 'authorization, content-type',
        })
        .send(),
    );

  app.setNotFoundHandler(async ({ method, url }) => {
    throw notFound(`There is no ${method} ${url.split('?')[0]}`);
  });
  app.setErrorHandler((error, _request, reply) => sendError(context, error, reply));
  return app;
}

function sendError({ onFailure }: GenerateContext, error: unknown, reply: FastifyReply): unknown {
  if (error instanceof ClientGone) return reply.code(clientGone).send(); // nobody hears it
  const told = asApiError(error);
  if (told.cause !== undefined) onFailure(told.cause);
  return reply.code(told.status).headers(told.headers).send(told.body);
}
