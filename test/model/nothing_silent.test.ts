// Nothing that a model's checkpoint says is passed over: without a tensor or a key, and with another value of either, the
// logits are others, or there is an error.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeSafetensors } from '../../src/checkpoint/containers/write.js';
import { MoEError } from '../../src/index.js';
import {
  changed,
  changedAt,
  otherThan,
  otherValues,
  type Path,
  pathsOf,
  valueAt,
} from '../families/changes.js';
import type { Config } from '../families/fixture.js';
import type { Tensors } from '../families/spelling.js';
import { type ModelFixture, writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel } from './running.js';

/** Keys without an effect on logits. */
const withoutEffect = ['initializer_range', 'num_nextn_predict_layers'];
/** Values that many families' classes take for keys that are left out. */
const defaults = ['hidden_act', 'tie_word_embeddings', 'decoder_sparse_step'];
const tokens = textOf(30);

/** What becomes of a checkpoint. */
async function outcome(folder: string, { options }: ModelFixture): Promise<string> {
  try {
    return await withModel(folder, options, async (model) => {
      const logits = await logitsOf(model, tokens);
      const { contextLength } = model.description.spec;
      return `${contextLength} ${Buffer.from(logits.buffer).toString('latin1')}`;
    });
  } catch (error) {
    if (error instanceof MoEError) return `error: ${error.message}`;
    throw error;
  }
}

const write = (folder: string, tensors: Tensors) =>
  writeFile(join(folder, 'model.safetensors'), Buffer.concat(encodeSafetensors(tensors)));

/** Without this layer's number: of several layers one is enough. */
const inside = (name: string) => name.replace(/layers\.\d+\./, '');

/** Tensors around the blocks, each kind once; blocks have a test of their own. */
function aroundBlocks({ tensors, config }: ModelFixture): string[] {
  const seen = new Set<string>();
  return Object.keys(tensors).filter((name) => {
    const further = /layers\.(\d+)\./.exec(name)?.[1];
    const isOther =
      /(experts?[._]|\.gate\.|router|shared_|block_sparse_moe|rotary_emb)/.test(name) ||
      Number(further) >= (config['num_hidden_layers'] as number);
    if (isOther || seen.has(inside(name))) return false;
    seen.add(inside(name));
    return true;
  });
}

/** The keys that have an effect: lists of what a model does without them stand beside each fixture. */
function isHeld({ ignored, config }: ModelFixture, path: Path): boolean {
  const key = path.at(-1) as string;
  const denseWidth =
    key === 'intermediate_size' &&
    'moe_intermediate_size' in config &&
    !['mlp_only_layers', 'first_k_dense_replace', 'mlp_layer_types'].some((each) => each in config);
  return !denseWidth && ![...withoutEffect, ...ignored].includes(key);
}

describe.each(modelFixtures.map((fixture) => [fixture.name, fixture] as const))(
  '%s',
  (_, fixture) => {
    const { config, tensors, atDefault } = fixture;

    test('no tensor is passed over', async () => {
      const folder = await writtenModel(fixture);
      const right = await outcome(folder, fixture);
      expect(right).not.toContain('error');
      for (const name of aroundBlocks(fixture)) {
        const { [name]: tensor, ...others } = tensors;
        if (tensor === undefined) throw new Error(`no tensor ${name}`);
        await write(folder, others);
        expect.soft(await outcome(folder, fixture), `without ${name}`).toContain(name);
        const place = Math.floor((tensor.data as Float32Array).length / 3);
        await write(folder, { ...others, [name]: changed(tensor, place) });
        const other = await outcome(folder, fixture);
        expect.soft(other, `${name} changed`).not.toBe(right);
        expect.soft(other, `${name} changed`).not.toContain('error');
        await write(folder, { ...tensors, [`${name}_more`]: tensor });
        expect.soft(await outcome(folder, fixture), `${name} twice`).toContain(`${name}_more`);
      }
    });

    test('no key is passed over', async () => {
      const folder = await writtenModel(fixture);
      const right = await outcome(folder, fixture);
      const outcomeOf = async (changed: Config) => {
        await writeFile(join(folder, 'config.json'), JSON.stringify(changed));
        return outcome(folder, fixture);
      };
      for (const path of pathsOf(config).filter((each) => isHeld(fixture, each))) {
        const name = path.join('.');
        const key = path.at(-1) as string;
        const other = otherValues[key] ?? otherThan(valueAt(config, path));
        expect
          .soft(await outcomeOf(changedAt(config, path, other)), `${name} changed`)
          .not.toBe(right);
        const isDefault = [key, path.slice(-2).join('.')].some((each) =>
          [...defaults, ...atDefault].includes(each),
        );
        if (!isDefault)
          expect
            .soft(await outcomeOf(changedAt(config, path, undefined)), `without ${name}`)
            .not.toBe(right);
      }
    });
  },
);
