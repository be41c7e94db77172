/// <reference lib="esnext.disposable" preserve="true" />
import type { AddressInfo } from 'node:net';
import { MoEError } from '../base/errors.js';
import { packageVersion } from '../base/package.js';
import { expectOptions } from '../base/rows.js';
import type { TextModel } from '../model/types.js';
import { createApp } from './app.js';
import { Authorization } from './authorization.js';
import { Connections } from './connections.js';
import { unavailable } from './errors.js';
import { Metrics } from './metrics.js';
import { type ServeOptions, type ServeSettings, serveDefaults, serveRows } from './options.js';
import { ServedModel, type ServingState } from './served_model.js';

export type { ServeOptions, ServingState };

/** A server that listens. */
export class ModelServer implements AsyncDisposable {
  /** Where it listens, as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Settles once the model is loaded; rejects where it cannot be. */
  readonly ready: Promise<void>;
  readonly #served: ServedModel;
  readonly #close: () => Promise<void>;
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(url: string, ready: Promise<void>, served: ServedModel, close: () => Promise<void>) {
    this.url = url;
    this.ready = ready;
    this.#served = served;
    this.#close = close;
  }

  /** `loading`, `ready`, `failed` (the model could not be loaded, or its device is lost) or `closing`. */
  get state(): ServingState {
    return this.#served.state;
  }

  /**
   * Stops listening, refuses what still comes on open connections, and settles when the answers are sent that have begun, or
   * when `drainSeconds` have passed, which ends the others. The model is its owner's to close.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Serves a model over HTTP with OpenAI's API (docs/server.md). It listens at once; while the model is still being loaded
 * requests are answered with 503.
 */
export async function serve(
  model: TextModel | PromiseLike<TextModel>,
  options: ServeOptions = {},
): Promise<ModelServer> {
  // Nobody may be left to hear of it when the options are wrong.
  const loading = Promise.resolve(model);
  loading.catch(() => undefined);
  expectOptions('serve', options, serveRows);
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const settings: ServeSettings = { ...serveDefaults, ...given };

  const served = new ServedModel(settings.modelName);
  const metrics = new Metrics(
    settings.metricsPrefix,
    () => served.name,
    () => served.model,
  );
  const connections = new Connections(metrics.countRequest, () => {
    // Connections that are kept open would keep a server from closing.
    if (served.state === 'closing') setImmediate(() => app.server.closeIdleConnections());
  });
  const unknown = new Set<string>();
  const app = createApp({
    served,
    metrics,
    connections,
    settings,
    limits: settings,
    authorization: new Authorization(settings.apiKey),
    version: packageVersion,
    defaultMaxTokens: settings.defaultMaxTokens,
    onFailure: (cause) => {
      app.log.error(cause);
      if (cause instanceof MoEError && cause.code === 'ERR_MOE_DEVICE_LOST') served.failed();
    },
    onUnknownField: (name) => {
      if (unknown.size >= 100 || unknown.has(name)) return;
      unknown.add(name);
      app.log.warn(`Requests have a field that is not known and is passed over: ${name}`);
    },
  });
  const ready = loading.then(
    (loaded) => served.loaded(loaded),
    (error) => {
      served.failed();
      throw error;
    },
  );
  ready.catch(() => undefined);

  const { port, host, drainSeconds } = settings;
  connections.watch(app.server);
  await app.listen({ port, host });
  return new ModelServer(
    urlOf(host, app.server.address() as AddressInfo),
    ready,
    served,
    async () => {
      served.close();
      const timers = [
        setTimeout(
          () => connections.stop(unavailable('The server is going down', 'closing')),
          drainSeconds * 1000,
        ),
        // What is stopped has a second to tell its client.
        setTimeout(() => app.server.closeAllConnections(), drainSeconds * 1000 + 1000),
      ];
      connections.closeSilent();
      await app.close();
      for (const timer of timers) clearTimeout(timer);
    },
  );
}

const urlOf = (host: string, { port }: AddressInfo): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
