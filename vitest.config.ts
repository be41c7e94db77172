import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The examples import the package by its name, as users do.
  resolve: {
    alias: {
      'node-moe/server': new URL('./src/server/serve.ts', import.meta.url).pathname,
      'node-moe': new URL('./src/index.ts', import.meta.url).pathname,
    },
  },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
  },
});
