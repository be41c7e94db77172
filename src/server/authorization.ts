import { createHash, timingSafeEqual } from 'node:crypto';
import { ApiError } from './errors.js';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Asks for a key, where there is one. How long that takes says nothing about it. */
export class Authorization {
  readonly #expected: Buffer | undefined;

  constructor(key: string | undefined) {
    this.#expected = key === undefined ? undefined : digest(key);
  }

  expect(header: string | undefined): void {
    if (this.#expected === undefined) return;
    const [, key = ''] = /^Bearer +(.*)$/i.exec(header ?? '') ?? [];
    if (timingSafeEqual(digest(key), this.#expected)) return;
    const message =
      header === undefined
        ? 'Expected an API key, as `Authorization: Bearer KEY`'
        : 'The API key is wrong';
    throw new ApiError(401, 'invalid_request_error', message, {
      code: 'invalid_api_key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}
