import { unexpected } from '../base/checks.js';
import { boolean, integer, number, other, type Rows, textOf } from '../base/rows.js';

/** How `serve` serves a model. */
export interface ServeOptions {
  /** Default 8080; 0 takes one that is free. */
  port?: number | undefined;
  /** The address that is listened on. Default 127.0.0.1: only this machine. */
  host?: string | undefined;
  /** What clients call the model. Default: its `modelType`. */
  modelName?: string | undefined;
  /** Clients must send it as `Authorization: Bearer KEY`. Default: anybody is served. */
  apiKey?: string | undefined;
  /** Browsers of pages from here, such as `https://chat.example.org` or `*`, may ask. Default: none may. */
  corsOrigin?: string | undefined;
  /** What names of metrics begin with. Default `moe_`; with `vllm:` dashboards of vLLM work. */
  metricsPrefix?: string | undefined;
  /** Of chats that do not say `max_completion_tokens`. Default: the model's own. */
  defaultMaxTokens?: number | undefined;
  /** Bytes that a request may have. Default 8 MiB. */
  maxBodyBytes?: number | undefined;
  /** Bytes of an answer that may wait for a client that reads slowly; more of them end the request. Default 1 MiB. */
  maxBufferedBytes?: number | undefined;
  /** Seconds that a request may take to arrive, and a client to read an answer that is whole. Default 30. */
  requestSeconds?: number | undefined;
  /** A stream that has nothing to say says so after so many seconds, or proxies would close it. Default 15. */
  keepAliveSeconds?: number | undefined;
  /** Seconds that answers may take once the server goes down. Default 30. */
  drainSeconds?: number | undefined;
  /** A log of what goes wrong, on stderr, a JSON document a line. Default false. */
  logger?: boolean | undefined;
}

const prefix = other((name, value) => {
  if (typeof value !== 'string' || !/^[a-zA-Z_:][\w:]*$/.test(value))
    throw unexpected(name, 'a beginning of names of metrics, such as moe_', value);
});

/** Everything about these options: names, checks, flags. */
export const serveRows: Rows<ServeOptions> = {
  port: {
    kind: integer(0, 65535),
    flag: { value: 'n', help: 'where to listen, 0: any that is free (default: 8080)' },
  },
  host: {
    kind: textOf('an address'),
    flag: { value: 'address', help: 'the address to listen on (default: 127.0.0.1)' },
  },
  modelName: {
    kind: textOf('a name'),
    flag: { value: 'name', help: 'what clients call the model (default: the folder’s name)' },
  },
  apiKey: {
    kind: textOf('a key'),
    flag: {
      value: 'key',
      help: 'what clients must send as a bearer token; better in the variable MOE_API_KEY',
    },
  },
  corsOrigin: {
    kind: textOf('an origin'),
    flag: { value: 'origin', help: 'browsers of pages from there may ask, or * (default: none)' },
  },
  metricsPrefix: {
    kind: prefix,
    flag: { value: 'prefix', help: 'what names of metrics begin with (default: moe_)' },
  },
  defaultMaxTokens: {
    kind: integer(1),
    flag: {
      value: 'n',
      help: 'tokens of an answer to a chat that names no number (default: the model’s own)',
    },
  },
  maxBodyBytes: {
    kind: integer(1),
    flag: { value: 'n', help: 'bytes that a request may have (default: 8 MiB)' },
  },
  maxBufferedBytes: {
    kind: integer(1),
    flag: { value: 'n', help: 'bytes that may wait for a slow client (default: 1 MiB)' },
  },
  requestSeconds: {
    kind: number({ above: 0 }),
    flag: {
      value: 'n',
      help: 'for a request to arrive, and for a whole answer to be read (default: 30)',
    },
  },
  keepAliveSeconds: {
    kind: number({ above: 0 }),
    flag: { value: 'n', help: 'between signs of life in a stream (default: 15)' },
  },
  drainSeconds: {
    kind: number({ atLeast: 0 }),
    flag: { value: 'n', help: 'for answers once the server goes down (default: 30)' },
  },
  logger: { kind: boolean },
};

export const serveDefaults = {
  port: 8080,
  host: '127.0.0.1',
  metricsPrefix: 'moe_',
  maxBodyBytes: 8 << 20,
  maxBufferedBytes: 1 << 20,
  requestSeconds: 30,
  keepAliveSeconds: 15,
  drainSeconds: 30,
  logger: false,
} satisfies ServeOptions;

/** The options with what stands for those that are not given. */
export type ServeSettings = ServeOptions & {
  [Name in keyof typeof serveDefaults]: NonNullable<ServeOptions[Name]>;
};
