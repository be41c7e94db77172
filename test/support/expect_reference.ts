import { expect } from 'vitest';
import type { RoutedForwardResult } from '../../src/index.js';
import { type ReferenceResult, relativeError } from '../reference/layer.js';

/** Compares everything that a layer gives with the float64 reference; its output to a tolerance, the rest as is. */
export function expectReference(
  actual: RoutedForwardResult,
  expected: ReferenceResult,
  tolerance: number,
): void {
  expect([...actual.routing.expertIds]).toEqual(expected.expertIds.flat());
  expect(relativeError(actual.routing.weights, expected.weights.flat())).not.toBeGreaterThan(1e-5);
  expect([...actual.expertLoad]).toEqual(expected.expertLoad);
  expect(actual.droppedChoices).toBe(expected.droppedChoices);
  expect(actual.capacity).toBe(expected.capacity);
  expect(Math.abs(actual.auxLoss - expected.auxLoss) <= 1e-5 * (1 + expected.auxLoss)).toBe(true);
  expect(Math.abs(actual.zLoss - expected.zLoss) <= 1e-5 * (1 + expected.zLoss)).toBe(true);
  expect(relativeError(actual.output, expected.output.flat()) <= tolerance).toBe(true);
}
