import { defineConfig } from 'vitest/config';

/** Every way of installing; `npm test` runs the quick ones only. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/install/*.test.ts', 'test/install/*.full.ts'],
    maxWorkers: 1,
    testTimeout: 600_000,
    hookTimeout: 900_000,
  },
});
