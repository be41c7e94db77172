// The TypeScript that declares the addon and the C++ that makes it name the same things: nothing is passed that is not read,
// nothing is read that is not passed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { root } from './fixtures/command_line.js';

const addon = readdirSync(join(root, 'native/addon'))
  .filter((file) => /\.(cc|h)$/.test(file))
  .map((file) => readFileSync(join(root, 'native/addon', file), 'utf8'))
  .join('\n');

/** Members of the interfaces of a file that cross into native code or come from it. */
function declaredIn(file: string, crosses: (name: string) => boolean): Set<string> {
  const source = ts.createSourceFile(
    file,
    readFileSync(join(root, file), 'utf8'),
    ts.ScriptTarget.ES2022,
  );
  const names = new Set<string>();
  const collect = (node: ts.Node): void => {
    if ((ts.isPropertySignature(node) || ts.isMethodSignature(node)) && ts.isIdentifier(node.name))
      names.add(node.name.text);
    ts.forEachChild(node, collect);
  };
  for (const statement of source.statements)
    if (ts.isInterfaceDeclaration(statement) && crosses(statement.name.text)) collect(statement);
  return names;
}

const declared = new Set([
  ...declaredIn('src/native.ts', () => true),
  ...declaredIn('src/weights.ts', (name) => name.endsWith('View') || name.endsWith('Views')),
]);

const read = /\b(?:read_\w+|\w*tensor|optional\w*)(?:<\w+>)?\(\s*\w+,\s*"(\w+)"/g;
const touched = /\.(?:Get|Set|Has)\(\s*"(\w+)"|Instance(?:Method|Accessor)[^"]*"(\w+)"/g;
const used = new Set(
  [...addon.matchAll(read), ...addon.matchAll(touched)].map(([, a, b]) => (a ?? b) as string),
);

describe('names', () => {
  test('there are many', () => {
    expect(declared.size).toBeGreaterThan(60);
    expect(used.size).toBeGreaterThan(60);
  });

  test('every name that C++ reads or sets is declared in TypeScript', () => {
    const ofErrors = ['code'];
    expect([...used].filter((name) => !declared.has(name) && !ofErrors.includes(name))).toEqual([]);
  });

  test('every name that TypeScript declares stands in the C++ of the addon', () => {
    expect([...declared].filter((name) => !addon.includes(`"${name}"`))).toEqual([]);
  });
});

test('every text that C++ takes for an enumeration is one that TypeScript knows', () => {
  const known = ['src/native.ts', 'src/weights.ts', 'src/config/fields.ts', 'src/layer/options.ts']
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .join('\n');
  const texts = [...addon.matchAll(/\{"(\w+)",\s*\w+::k\w+\}/g)].map(([, text]) => text as string);
  expect(texts.length).toBeGreaterThan(20);
  expect(texts.filter((text) => !known.includes(`'${text}'`))).toEqual([]);
});
