import { expect, test } from 'vitest';
import { nativeTests, scriptTests } from '../scripts/one-test.mjs';

const native = [
  {
    file: 'test/native/core/plan_test.cc',
    text: 'TEST(Plan, SortsSlots) {\n}\nTEST_P(Plan, KeepsOrder) {\n}\n',
  },
  { file: 'test/native/cpu/pool_test.cc', text: 'TEST(Pool, SortsNothing) {\n}\n' },
];

test('native tests are found by a part of their name, in every file, or by their file', () => {
  expect(nativeTests('Sorts', native)).toEqual([
    { file: 'test/native/core/plan_test.cc', filter: '*Plan*.SortsSlots*' },
    { file: 'test/native/cpu/pool_test.cc', filter: '*Pool*.SortsNothing*' },
  ]);
  expect(nativeTests('Plan.Keeps', native)).toEqual([
    { file: 'test/native/core/plan_test.cc', filter: '*Plan*.KeepsOrder*' },
  ]);
  expect(nativeTests('plan_test', native)[0]?.filter).toBe('*Plan*.SortsSlots*:*Plan*.KeepsOrder*');
  expect(nativeTests('nothing', native)).toEqual([]);
});

test('TypeScript tests are found alike, and need the command line where they run it', () => {
  const files = [
    { file: 'test/a.test.ts', text: "import './fixtures/command_line.js';\ntest('adds (a + b)')" },
    { file: 'test/b.test.ts', text: "test('multiplies')" },
  ];
  expect(scriptTests('(a + b)', files)).toEqual([
    { file: 'test/a.test.ts', pattern: '\\(a \\+ b\\)', needsProgram: true },
  ]);
  expect(scriptTests('b.test', files)).toEqual([
    { file: 'test/b.test.ts', pattern: undefined, needsProgram: false },
  ]);
});

test('what is declared in the sources is found', () => {
  expect(nativeTests('function_ref_test').length).toBe(1);
  expect(scriptTests('one_test.test')[0]?.file).toBe('test/one_test.test.ts');
});
