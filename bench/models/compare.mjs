// Times whole models of ours and of llama.cpp, one at a time.
import { busyFraction } from '../../dist/cli/bench/busy.js';
import { bitsPerWeight } from '../../dist/cli/bench/measure.js';
import { deviceNamed } from '../../dist/cli/bench/run_bench.js';
import { spread } from '../../dist/cli/bench/samples.js';
import { preparePeer } from '../compare/install.mjs';
import { Peer } from '../compare/peer.mjs';
import { only, ratioOf, slowdown, takeTurns, timeAlone } from '../compare/turns.mjs';
import { cases, steps } from './cases.mjs';
import { checkpointOf, ggufOf } from './files.mjs';
import { cachedPerToken, modelOf, weightsPerToken } from './shapes.mjs';

/** The types of llama.cpp's weights with as many bits as ours. */
export const ggufTypeOf = { bfloat16: 'BF16', float16: 'F16', int8: 'Q8_0', int4: 'Q4_0' };

const rounds = 3;
/** Prompts after which both must go on with the same token most of the time, where weights are the same. */
const [firstTokens, leastAlike] = [8, 5];

/**
 * @param settings `{ models, weightTypes, cases, layers, threads, seconds, activationType, folder, peers }`
 * @param signal
 */
export async function compareModels(settings, signal) {
  const { models, weightTypes, layers, threads, activationType, peers } = settings;
  const llama = peers ? await preparePeer('node-llama-cpp') : undefined;
  const { name: deviceName = '', kernels = '' } = deviceNamed('cpu') ?? {};
  const result = {
    ...{ deviceName, kernels, threads, layers, activationType },
    ...(llama && { version: llama.version }),
    busyFraction: await busyFraction(),
    cases: [],
  };
  for (const name of models)
    for (const weightType of weightTypes) {
      const model = modelOf(name, layers);
      result.cases.push(...(await compareModel({ model, weightType, settings, llama, signal })));
    }
  return result;
}

async function compareModel({ model, weightType, settings, llama, signal }) {
  const { threads, seconds, activationType, folder } = settings;
  const progress = (what) => process.stderr.write(`bench: ${model.name} ${weightType} ${what}\n`);
  const started = [];
  const start = async (choice, program, ...args) => {
    started.push(await Peer.start(choice, program, [...args, choice.type, String(threads)]));
    return started.at(-1);
  };
  try {
    const ours = await start(
      { name: 'node-moe', type: weightType },
      oursProgram,
      await checkpointOf(model, folder),
      activationType,
    );
    progress('alone');
    const contestants = [await contestantOf(ours, '', settings, signal)];
    if (llama !== undefined) {
      const type = ggufTypeOf[weightType];
      const file = await ggufOf(model, type, folder);
      const peer = await start({ name: 'llama.cpp', type }, llama, file);
      for (const flash of ['plain', 'flash'])
        contestants.push(await contestantOf(peer, flash, settings, signal));
      await expectAlike(ours, peer, weightType, signal);
    }
    const machine = { ...pausing(ours), time: async () => [await bandwidthOf(ours)] };
    const compared = [];
    for (const name of settings.cases) {
      progress(`${name}, in turns`);
      const everyone = [machine, ...contestants.map(({ contestant }) => contestant)];
      const [reads, ...turns] = await takeTurns(everyone, name, seconds, signal, rounds);
      const timed = contestants.map(({ alone }, i) => ({
        alone: alone.get(name),
        turns: turns[i],
      }));
      compared.push(caseOf({ model, weightType, name, contestants, timed, reads }));
    }
    return compared;
  } finally {
    for (const one of started) one.close();
  }
}

const oursProgram = {
  command: process.execPath,
  arguments: [new URL('ours.mjs', import.meta.url).pathname],
  environment: {},
  version: '',
};

const pausing = (peer) => ({ resume: () => peer.resume(), pause: () => peer.pause() });
const bandwidthOf = async (ours) => (await ours.ask('bandwidth')).gigabytesPerSecond;

/** A process in one of its ways, with its times alone. A call that is not counted is a short prompt. */
async function contestantOf(peer, flash, settings, signal) {
  const contestant = {
    ...{ ...pausing(peer), flash, type: peer.type },
    async time(name, seconds) {
      if (seconds === 0) return peer.ask('warm', flash);
      return (await peer.ask('time', name.replace(' ', '-'), seconds, flash)).milliseconds;
    },
  };
  const alone = new Map();
  for (const name of settings.cases)
    alone.set(name, await timeAlone(contestant, name, settings.seconds, signal, rounds));
  return { contestant, alone };
}

function caseOf({ model, weightType, name, contestants, timed, reads }) {
  const { kind, size, behind, tokens } = cases[name];
  const sides = timed.map((one, i) => {
    const { flash, type } = contestants[i].contestant;
    const milliseconds = spread(one.turns.flat());
    return {
      ...{ flash, type, milliseconds, alone: one.alone, slowdown: slowdown(one) },
      tokensPerSecond: (tokens / milliseconds.median) * 1e3,
    };
  });
  const [nodeMoe, ...peers] = sides;
  const gigabytes = bytesPerToken(model, weightType, behind + steps / 2) / 1e9;
  return {
    ...{ model: model.name, weightType, name, nodeMoe },
    peers: peers.map((peer, i) => ({ ...peer, ratio: ratioOf(timed[0], timed[i + 1]) })),
    ...(kind === 'sequences' &&
      size === 1 && {
        gigabytesPerSecond: gigabytes * nodeMoe.tokensPerSecond,
        machineGigabytesPerSecond: spread(reads.flat()).median,
        bandwidthFraction: spread(
          reads.map(([read], round) => {
            const { median } = spread(timed[0].turns[round]);
            return (gigabytes * steps * 1e3) / median / read;
          }),
        ).median,
      }),
  };
}

/** What one token of one sequence must read: weights, and keys and values of 16 bits. */
function bytesPerToken(model, weightType, tokens) {
  const { held, plain } = weightsPerToken(model);
  return (held * bitsPerWeight(weightType)) / 8 + 4 * plain + 2 * tokens * cachedPerToken(model);
}

/** In 16 bits both have the same weights, and must compute the same model. */
async function expectAlike(ours, peer, weightType, signal) {
  const ask = async (one) => (await one.ask('first', firstTokens)).tokens;
  const [first, second] = [await only(ours, signal, ask), await only(peer, signal, ask)];
  const alike = first.filter((token, i) => token === second[i]).length;
  if (weightType.startsWith('int') || alike >= leastAlike) return;
  throw new Error(
    `Expected ${leastAlike} of ${firstTokens} prompts to go on alike in llama.cpp, got ${alike}: ${first} and ${second}`,
  );
}
