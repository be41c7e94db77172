import { deviceText, resolveDevice } from '../binding/devices.js';
import { settled } from '../binding/settled.js';
import { describeModel } from './describe.js';
import type { LoadedModel } from './load.js';
import { WeightLoader } from './load_weights.js';
import { MadeUpWeights } from './made_up.js';
import type { ModelLoadOptions } from './options.js';

/** A model of which there is only a config, with made-up weights and without a tokenizer. */
export async function loadMadeUp(
  config: Readonly<Record<string, unknown>>,
  options: ModelLoadOptions,
): Promise<LoadedModel> {
  const description = describeModel(config, undefined, options);
  const device = resolveDevice(options.device);
  const source = new MadeUpWeights(config, description);
  const loader = new WeightLoader(source, source, description, device, options);
  const native = await loader.load(await loader.check());
  return {
    ...{ description, config, folder: '', device: deviceText(device), native, notes: loader.notes },
    close: () => settled(() => native.close()),
  };
}
