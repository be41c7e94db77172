// Times a layer of ours and the same layer in other packages, one at a time.
import { setTimeout as sleep } from 'node:timers/promises';
import { busyFraction } from '../../dist/cli/bench/busy.js';
import { measureEventLoop } from '../../dist/cli/bench/event_loop.js';
import { checkedCall, measurement } from '../../dist/cli/bench/measure.js';
import { relativeError } from '../../dist/cli/bench/reference.js';
import { checkMemory, deviceNamed, withLayer } from '../../dist/cli/bench/run_bench.js';
import { timeCalls } from '../../dist/cli/bench/samples.js';
import { choicesFor } from './choices.mjs';
import { preparePeer } from './install.mjs';
import { Peer, threadsOf } from './peer.mjs';
import { only, ratioOf, slowdown, takeTurns, timeAlone } from './turns.mjs';

/**
 * @param settings those of `node-moe bench`
 * @param peers `{ name, type }` each, or `true`: every peer of the device's kind, in the type nearest to ours
 */
export async function compare(settings, peers, signal) {
  checkMemory(settings);
  const programs = await preparePeers(settings, peers);
  const { shape, threads, ranks } = settings;
  const result = { shape, threads, ranks, busyFraction: await busyFraction(), cases: [] };
  for (const weightType of settings.weightTypes) {
    const choices = choicesFor(peers, settings.device, weightType).filter(({ name }) =>
      programs.has(name),
    );
    await withLayer(settings, weightType, signal, async (layer) => {
      const { name: deviceName = '', kernels = '' } = deviceNamed(layer.device) ?? {};
      Object.assign(result, { device: layer.device, deviceName, kernels });
      const started = [];
      try {
        const start = async (choice) => {
          const args = layerArguments(shape, choice.type, threads);
          started.push(await Peer.start(choice, programs.get(choice.name), args));
          return started.at(-1);
        };
        const compared = await compareType({ settings, weightType, layer, choices, start, signal });
        result.cases.push(...compared.cases);
        result.eventLoop ??= compared.eventLoop;
      } finally {
        for (const peer of started) peer.close();
      }
    });
  }
  return result;
}

/** What a peer's program is told of the layer that it makes. */
const layerArguments = (shape, type, threads) =>
  [
    ...[shape.hiddenSize, shape.intermediateSize, shape.expertNum, shape.numExpertsChosen],
    ...[type, threads],
  ].map(String);

/** The programs of the peers; without torch where it is not there and nobody named it. */
async function preparePeers({ weightTypes, device }, peers) {
  const choices = weightTypes.flatMap((weightType) => choicesFor(peers, device, weightType));
  const programs = new Map();
  for (const name of new Set(choices.map((choice) => choice.name))) {
    try {
      programs.set(name, await preparePeer(name));
    } catch (error) {
      if (peers !== true || name !== 'torch') throw error;
      process.stderr.write(`bench: no comparison: ${error.message}\n`);
    }
  }
  return programs;
}

/** Everyone alone, before the next one is started; then all in turns. */
async function compareType({ settings, weightType, layer, choices, start, signal }) {
  const { shape, seconds, tokens: batches, eventLoopSeconds } = settings;
  const calls = new Map();
  for (const tokens of batches)
    calls.set(tokens, await checkedCall({ shape, layer, weightType, tokens, signal }));
  const ours = contestant(calls);
  const aloneOf = async (one) => {
    const alone = new Map();
    for (const tokens of batches) alone.set(tokens, await timeAlone(one, tokens, seconds, signal));
    return alone;
  };

  const contestants = [{ contestant: ours, alone: await aloneOf(ours) }];
  for (const choice of choices) {
    const peer = await start(choice);
    const alone = await aloneOf(peer);
    contestants.push({ contestant: peer, alone, errors: await errorsOf(peer, calls, signal) });
  }
  const cases = [];
  for (const tokens of batches) {
    const everyone = contestants.map(({ contestant: one }) => one);
    const turns = await takeTurns(everyone, tokens, seconds, signal);
    const { error, activeExperts } = calls.get(tokens);
    const entries = contestants.map(({ contestant: one, alone, errors }, i) => {
      const timed = { alone: alone.get(tokens), turns: turns[i] };
      const facts = measurement(turns[i], errors?.get(tokens) ?? error, tokens, shape);
      return { one, timed, facts: { ...facts, alone: timed.alone, slowdown: slowdown(timed) } };
    });
    const [{ timed, facts: nodeMoe }, ...others] = entries;
    cases.push({
      ...{ weightType, tokens, activeExperts, nodeMoe },
      peers: others.map(({ one: { name, type, version }, timed: theirs, facts }) => ({
        ...{ name, type, version, ...facts },
        ratio: ratioOf(timed, theirs),
      })),
    });
  }
  if (eventLoopSeconds === 0) return { cases };
  const { tokens, nodeMoe } = cases.at(-1);
  const rate = (tokens / nodeMoe.milliseconds.median) * 1e3;
  const eventLoop = await measureEventLoop(layer, shape, rate, eventLoopSeconds, signal);
  const inNode = contestants.find(({ contestant: one }) => one.name === 'onnxruntime-node');
  if (inNode !== undefined) {
    const late = (peer) => peer.lateness(eventLoop.tokens);
    eventLoop.onnxruntimeNode = await only(inNode.contestant, signal, late);
  }
  return { cases, eventLoop };
}

/** Our layer as one that takes turns: paused once its threads sleep, for those of its pool spin for some microseconds. */
function contestant(calls) {
  const isOther = ({ thread }) => thread !== String(process.pid);
  const busy = () => threadsOf(process.pid).some((one) => isOther(one) && one.state === 'R');
  return {
    resume() {},
    async pause() {
      while (busy()) await sleep(1);
    },
    time: (tokens, seconds) => timeCalls(calls.get(tokens).call, seconds),
  };
}

/** How far a peer's output rows are from the plain computation, for every batch. */
function errorsOf(peer, calls, signal) {
  return only(peer, signal, async () => {
    const errors = new Map();
    for (const [tokens, { reference }] of calls) {
      const { first, last } = await peer.rows(tokens);
      const at = (token, column) => (token === 0 ? first : last)[column] ?? Number.NaN;
      errors.set(tokens, relativeError(reference, at));
    }
    return errors;
  });
}
