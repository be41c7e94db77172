import { randomInt } from 'node:crypto';
import { expectObject } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { expectKind } from '../base/rows.js';
import { ApiError, invalid } from './errors.js';
import { shown } from './field_kinds.js';
import { type Field, fields } from './fields.js';
import { nothingWanted, type Route, type Wanted } from './wanted.js';

const fieldsOf = (route: Route): Map<string, Field> =>
  new Map(fields.filter(({ of }) => of === route || of === 'both').map((row) => [row.name, row]));

const known: Record<Route, Map<string, Field>> = {
  chat: fieldsOf('chat'),
  completions: fieldsOf('completions'),
};
const required: Record<Route, string> = { chat: 'messages', completions: 'prompt' };
/** OpenAI's, which clients of completions count on. */
const completionTokens = 16;

/**
 * What the body of a request asks for.
 *
 * @param onUnknown is told of fields that nothing is known of, which are passed over
 * @throws `ApiError` with the name of the field
 */
export function readRequest(
  body: unknown,
  route: Route,
  defaultMaxTokens: number | undefined,
  onUnknown: (name: string) => void,
): Wanted {
  naming(undefined, () => expectObject('the body', body));
  const given = body as Record<string, unknown>;
  const wanted = nothingWanted();
  for (const name of Object.keys(given)) if (!known[route].has(name)) onUnknown(name);
  for (const row of known[route].values()) {
    const value = given[row.name];
    if (value === undefined || value === null) {
      if (row.name === required[route]) naming(row.name, () => expectField(row, value));
    } else if (row.is === 'taken') {
      naming(row.name, () => expectField(row, value));
      row.take(wanted, value as never);
    } else if (row.is === 'refused') expectHarmless(row, value);
  }
  expectTogether(wanted, given);
  return completed(wanted, route, defaultMaxTokens);
}

/** Runs a check, and gives its error the name of a field. */
export function naming(param: string | undefined, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw invalid(error.message, param === undefined ? {} : { param });
  }
}

function expectField(row: Field, value: unknown): void {
  if (row.is === 'taken') expectKind(row.name, value, row.kind);
}

function expectHarmless(row: Field & { is: 'refused' }, value: unknown): void {
  const text = JSON.stringify(value);
  const harmless = row.harmless.map((one) => JSON.stringify(one));
  if (harmless.includes(text)) return;
  const expected = ['left out', ...harmless].join(' or ');
  throw invalid(
    `\`${row.name}\` is not supported: expected it to be ${expected}, got ${shown(value)}. ${row.means}`,
    { param: row.name, code: 'unsupported_parameter' },
  );
}

/** What fields demand of one another. */
function expectTogether(wanted: Wanted, given: Record<string, unknown>): void {
  if (wanted.topLogprobs !== undefined && !wanted.logprobs)
    throw invalid('Expected `logprobs` to be true where `top_logprobs` is given', {
      param: 'top_logprobs',
    });
  if (wanted.echo && (wanted.options.logprobs ?? 0) > 0)
    throw invalid(
      'Expected `logprobs` to be 0 with `echo`: which tokens of a prompt were likeliest is not told',
      { param: 'logprobs', code: 'unsupported_parameter' },
    );
  if (given['stream_options'] != null && !wanted.stream)
    throw invalid('Expected `stream` to be true where `stream_options` is given', {
      param: 'stream_options',
    });
}

/** With what stands for fields that are left out. */
function completed(wanted: Wanted, route: Route, defaultMaxTokens: number | undefined): Wanted {
  const { options } = wanted;
  if (route === 'completions') options.maxTokens ??= completionTokens;
  else if (defaultMaxTokens !== undefined) options.maxTokens ??= defaultMaxTokens;
  // All answers to one request are of one seed. It has as many bits as JSON carries everywhere.
  options.seed ??= BigInt(randomInt(2 ** 48 - 1));
  if (wanted.logprobs) options.logprobs = wanted.topLogprobs ?? 0;
  if (wanted.toolChoice === 'none') delete options.tools;
  return wanted;
}

export function expectModel(name: string | undefined, served: string): void {
  if (name === undefined || name === served) return;
  throw new ApiError(
    404,
    'invalid_request_error',
    `The model ${shown(name)} does not exist: this server has \`${served}\``,
    { param: 'model', code: 'model_not_found' },
  );
}
