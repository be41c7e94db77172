// Counts of test reports.

export class Totals {
  passed = 0;
  failed = 0;
  skipped = 0;
  #lines = [];

  pass(tests = 1) {
    this.passed += tests;
  }

  fail(name, reason) {
    this.failed += 1;
    this.#lines.push(`FAILED  ${name}: ${reason}`);
  }

  skip(name, reason) {
    this.skipped += 1;
    this.#lines.push(`skipped ${name}: ${reason}`);
  }

  print() {
    console.log(['', ...this.#lines].join('\n'));
    const skipped = this.skipped > 0 ? `, ${this.skipped} skipped` : '';
    console.log(`${this.passed} passed, ${this.failed} failed${skipped}`);
  }
}

/** Adds what ctest wrote with --output-junit. A program may run several tests, of which each counts. */
export function countCtest(totals, suite, xml) {
  const cases = [
    ...xml.matchAll(
      /<testcase name="([^"]*)"[^>]*status="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g,
    ),
  ];
  if (cases.length === 0) return totals.fail(suite, 'ran no test');
  for (const [, name, status, body = ''] of cases) {
    if (status === 'run') countProgram(totals, suite, body);
    else if (status === 'notrun' || status === 'disabled')
      totals.skip(`${suite} ${name}`, skipReason(body));
    else totals.fail(`${suite} ${name}`, status);
  }
}

/** A program that ended well: one test, or those of GoogleTest that it names. */
function countProgram(totals, suite, body) {
  const passed = [...body.matchAll(/^\[ {7}OK \] /gm)].length;
  const skipped = [...body.matchAll(/^\[ {2}SKIPPED \] (\S+) \(\d+ ms\)/gm)];
  let begin = 0;
  for (const { 0: line, 1: name, index } of skipped) {
    totals.skip(`${suite} ${name}`, skipReason(body.slice(begin, index)));
    begin = index + line.length;
  }
  if (passed > 0 || skipped.length === 0) totals.pass(Math.max(1, passed));
}

/** GoogleTest prints the reason of GTEST_SKIP() on the line after the place. */
function skipReason(body) {
  return /: Skipped\s*\n([^\n<]+)/.exec(body)?.[1]?.trim() ?? 'the test says no reason';
}

/** Adds what vitest's json reporter wrote. A file that did not load counts as a failure. */
export function countVitest(totals, suite, { testResults = [] }) {
  if (testResults.length === 0) return totals.fail(suite, 'ran no test');
  for (const file of testResults) {
    const name = file.name.replace(`${process.cwd()}/`, '');
    if (file.assertionResults.length === 0 && file.status === 'failed')
      totals.fail(name, file.message || 'did not load');
    for (const { status, fullName, meta } of file.assertionResults) {
      if (status === 'passed') totals.pass();
      else if (status === 'failed') totals.fail(name, fullName);
      else totals.skip(`${name} ${fullName}`, meta?.reason ?? 'its title says why');
    }
  }
}
