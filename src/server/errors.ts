import { MoEError, type MoEErrorCode } from '../base/errors.js';

interface Details {
  /** The field of the request. */
  param?: string;
  code?: string;
  headers?: Readonly<Record<string, string>>;
  cause?: unknown;
}

/** What a client is told: a status, and a body in OpenAI's form. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly type: string;
  readonly param: string | undefined;
  readonly code: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    type: string,
    message: string,
    { param, code, headers = {}, cause }: Details = {},
  ) {
    super(message, { cause });
    this.status = status;
    this.type = type;
    this.param = param;
    this.code = code;
    this.headers = headers;
  }

  get body() {
    const { message, type, param = null, code = null } = this;
    return { error: { message, type, param, code } };
  }
}

/** The request cannot be answered as it is. */
export const invalid = (message: string, details?: Details): ApiError =>
  new ApiError(400, 'invalid_request_error', message, details);

export const notFound = (message: string, details?: Details): ApiError =>
  new ApiError(404, 'invalid_request_error', message, details);

/** The server cannot answer now. */
export const unavailable = (message: string, code: string): ApiError =>
  new ApiError(503, 'unavailable_error', message, { code, headers: { 'retry-after': '1' } });

const internal = (cause: unknown): ApiError =>
  new ApiError(500, 'server_error', 'Internal error', { cause });

/** What the errors of a model mean to a client. Others are the server's own fault. */
const ofModel: Partial<Record<MoEErrorCode, (message: string) => ApiError>> = {
  ERR_MOE_CONFIG: (message) => invalid(message),
  // Of a checkpoint that has no tokenizer: only tokens can be asked for.
  ERR_MOE_CHECKPOINT: (message) => invalid(message),
  ERR_MOE_SHAPE: (message) => invalid(message, { code: 'context_length_exceeded' }),
  ERR_MOE_QUEUE_FULL: (message) =>
    new ApiError(429, 'rate_limit_error', message, {
      code: 'queue_full',
      headers: { 'retry-after': '1' },
    }),
  ERR_MOE_CLOSED: (message) => unavailable(message, 'closed'),
  // Of a chat template that does not end.
  ERR_MOE_TIMEOUT: (message) => new ApiError(500, 'server_error', message, { code: 'timeout' }),
};

const mediaType = 'Expected the header `content-type: application/json`';

/** Any error as what a client is told. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof MoEError) return ofModel[error.code]?.(error.message) ?? internal(error);
  const { statusCode, message } = error as { statusCode?: unknown; message: string };
  if (statusCode === 415) return new ApiError(415, 'invalid_request_error', mediaType);
  if (typeof statusCode === 'number' && statusCode < 500)
    return new ApiError(statusCode, 'invalid_request_error', message);
  return internal(error);
}
