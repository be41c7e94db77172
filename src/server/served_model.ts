import type { TextModel } from '../model/types.js';
import { type ApiError, unavailable } from './errors.js';

/** What a server does: it loads its model, takes requests, has no model that works, or goes down. */
export type ServingState = 'loading' | 'ready' | 'failed' | 'closing';

const reasons: Record<Exclude<ServingState, 'ready'>, string> = {
  loading: 'The model is being loaded',
  failed: 'The model could not be loaded, or its device is lost',
  closing: 'The server is going down',
};

/** The model and whether it takes requests. */
export class ServedModel {
  #state: ServingState = 'loading';
  #model: TextModel | undefined;
  readonly #name: string | undefined;
  /** Seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);

  constructor(name: string | undefined) {
    this.#name = name;
  }

  get state(): ServingState {
    return this.#state;
  }

  get name(): string {
    return this.#name ?? this.#model?.modelType ?? '';
  }

  /** Absent while it is loaded. */
  get model(): TextModel | undefined {
    return this.#model;
  }

  /** @throws `ApiError` 503 unless it takes requests */
  expectReady(): TextModel {
    if (this.#state === 'ready' && this.#model !== undefined) return this.#model;
    throw this.unavailable;
  }

  get unavailable(): ApiError {
    const state = this.#state === 'ready' ? 'loading' : this.#state;
    return unavailable(reasons[state], state);
  }

  loaded(model: TextModel): void {
    if (this.#state !== 'loading') return;
    this.#model = model;
    this.#state = 'ready';
  }

  /** For good: whoever watches the server must start another one. */
  failed(): void {
    if (this.#state !== 'closing') this.#state = 'failed';
  }

  close(): void {
    this.#state = 'closing';
  }
}
