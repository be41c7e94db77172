import { isMap, Lexer, LineCounter, Parser, parseDocument } from 'yaml';
import { describe } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';

/** Values that aliases may stand for, all together: real files have a handful, an expanding bomb has billions. */
const maxAliasCount = 100;

/**
 * Nesting that text may have; real files have four levels. `parseDocument` recurses, and where a regular expression meets
 * the end of the stack V8 ends the process instead of throwing.
 */
const maxDepth = 100;

/** The object that YAML text holds; JSON is YAML. Throws `ConfigError` with line and column. */
export function parseText(text: string): Record<string, unknown> {
  try {
    expectShallow(text);
    return parseObject(text);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    // The parser's own: too many aliases, or an alias of nothing.
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`Expected YAML or JSON text, got text that cannot be read: ${reason}`, {
      cause: error,
    });
  }
}

/** Follows the text without recursion. */
function expectShallow(text: string): void {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme)); // advances only as far as it is read
    if (parser.stack.length <= maxDepth) continue;
    const before = text.slice(0, parser.offset).split('\n');
    throw new ConfigError(
      `Expected YAML or JSON text nested at most ${maxDepth} deep, got more at line ${before.length}, ` +
        `column ${before.at(-1)?.length}`,
    );
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
