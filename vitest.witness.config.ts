import { defineConfig } from 'vitest/config';

/** Whole models against llama.cpp, which is downloaded; `npm test` runs what needs no download. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/witness/*.witness.ts'],
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 900_000,
  },
});
