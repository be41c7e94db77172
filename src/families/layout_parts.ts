import type { ExpertsAt, MatrixAt } from './layout.js';

export const matrix = (name: string): MatrixAt => ({ name, axes: 'oi' });

/** Three matrices, a tensor each. */
export const three = (
  stem: string,
  [gate, up, down]: readonly [string, string, string],
): ExpertsAt => ({
  gate: matrix(`${stem}.${gate}.weight`),
  up: matrix(`${stem}.${up}.weight`),
  down: matrix(`${stem}.${down}.weight`),
});
export const projected = ['gate_proj', 'up_proj', 'down_proj'] as const;
export const numbered = ['w1', 'w3', 'w2'] as const;
export const expertsOf = (block: string) => `${block}.experts.{e}`;

/** Gate and up of all experts in one tensor, the gate first. */
export const halves = (gateUp: string, down: string, axes: 'eoi' | 'eio' | 'oi'): ExpertsAt => ({
  gate: { name: gateUp, axes, part: 'first half' },
  up: { name: gateUp, axes, part: 'second half' },
  down: { name: down, axes },
});

/** The same, every second feature a gate's. */
export const alternating = (
  gateUp: string,
  down: string,
  axes: 'eoi' | 'eio',
): Required<Pick<ExpertsAt, 'gate' | 'up' | 'down'>> => ({
  gate: { name: gateUp, axes, part: 'even' },
  up: { name: gateUp, axes, part: 'odd' },
  down: { name: down, axes },
});

/** As `gate_up_proj` and `down_proj`, either way round. */
export const fused = (block: string): readonly ExpertsAt[] =>
  (['eoi', 'eio'] as const).map((axes) =>
    halves(`${block}.experts.gate_up_proj`, `${block}.experts.down_proj`, axes),
  );

/** Each kind of matrix of all experts in one tensor, as MLX writes them. */
const switched = (block: string): ExpertsAt => {
  const at = (name: string): MatrixAt => ({
    name: `${block}.switch_mlp.${name}.weight`,
    axes: 'eoi',
  });
  return { gate: at('gate_proj'), up: at('up_proj'), down: at('down_proj') };
};

/** Each expert's three matrices by themselves, or fused, or stacked. */
export const eachOrFused = (
  block: string,
  names = projected as readonly [string, string, string],
) => [three(expertsOf(block), names), ...fused(block), switched(block)];
