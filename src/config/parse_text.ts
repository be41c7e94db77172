import { isMap, LineCounter, parseDocument } from 'yaml';
import { describe } from '../checks.js';
import { ConfigError } from '../errors.js';

/** Values that aliases may stand for, all together: real files have a handful, an expanding bomb has billions. */
const maxAliasCount = 100;

/** The object that YAML text holds; JSON is YAML. Throws `ConfigError` with line and column. */
export function parseText(text: string): Record<string, unknown> {
  try {
    return parseObject(text);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    // The parser's own: too many aliases, nesting that overflows the stack.
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`Expected YAML or JSON text, got text that cannot be read: ${reason}`, {
      cause: error,
    });
  }
}

function parseObject(text: string): Record<string, unknown> {
  const lines = new LineCounter();
  const position = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `at line ${Math.max(line, 1)}, column ${Math.max(col, 1)}`;
  };
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    logLevel: 'error',
  });
  const [error] = document.errors;
  if (error !== undefined)
    throw new ConfigError(
      `Expected YAML or JSON text, got an error ${position(error.pos[0])}: ${error.message}`,
    );
  if (!isMap(document.contents)) {
    const value: unknown = document.toJS({ maxAliasCount });
    const at = position(document.contents?.range?.[0] ?? 0);
    throw new ConfigError(`Expected YAML or JSON text of an object, got ${describe(value)} ${at}`);
  }
  return document.toJS({ maxAliasCount }) as Record<string, unknown>;
}
