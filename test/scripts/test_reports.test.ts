// What the suites report is counted test by test.
import { expect, test, vi } from 'vitest';
import { countCtest, Totals } from '../../scripts/test-reports.mjs';

test('a program of several tests counts as those that passed, and tells why others were skipped', () => {
  const totals = new Totals();
  const output = `[ RUN      ] A.b
[       OK ] A.b (0 ms)
[       OK ] A.c (3 ms)
[ RUN      ] A.d
a.cc:3: Skipped
there is no such instruction
[  SKIPPED ] A.d (0 ms)
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] A.d`;
  const one = (name: string, status: string, body: string) =>
    `<testcase name="${name}" classname="x" status="${status}"><system-out>${body}</system-out></testcase>`;
  countCtest(
    totals,
    'core',
    one('core.0', 'run', output) + one('core.1', 'fail', '') + one('e', 'run', ''),
  );
  expect([totals.passed, totals.failed, totals.skipped]).toEqual([3, 1, 1]);
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  totals.print();
  expect(log.mock.calls.join()).toContain('skipped core A.d: there is no such instruction');
  log.mockRestore();
});
