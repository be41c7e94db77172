import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NativeModel, NativeModelSpec } from './model.js';
import type { LayerWeightViews, NativeFile } from './views.js';
import type { ActivationType, WeightType } from './weight_formats.js';

/** Withdraws a waiting call, or stops a running one at the next block of an expert. */
export interface NativeCancellation {
  cancel(): void;
}

/** MoEConfig as native/core/config.h declares it: plain numbers and booleans, already checked. */
export interface NativeMoEConfig {
  expertNum: number;
  capacityFactor: number;
  auxLossFactor: number;
  numExpertsChosen: number;
  /** Tokens per capacity group; 0: the whole batch is one group. */
  tokensPerGroup: number;
  /** Slots of an expert; 0: as capacityFactor has it. */
  expertCapacity: number;
  routingPolicy: 'TopkRouterV1' | 'TopkRouterV2';
  scoreFunction: 'softmax' | 'sigmoid' | 'sqrtsoftplus' | 'sparsemixer';
  topkMethod: 'greedy' | 'group_limited_greedy' | 'noaux_tc';
  nGroup: number;
  topkGroup: number;
  excludeMaskedGroups: boolean;
  balanceViaTopkBias: boolean;
  normTopkProb: boolean;
  normTopkEpsilon: number;
  routedScalingFactor: number;
  enableSdrop: boolean;
  capacityMultiple: number;
  auxLosses: { factor: number; expertGroups: number }[];
  zLossFactor: number;
  sparsemixerEpsilon: number;
  /** 0: none. */
  logitSoftCap: number;
  chooseByLogit: boolean;
  normTopkSingle: boolean;
  zeroExpertNum: number;
  alwaysChosenExpertNum: number;
  weightOnInput: boolean;
  sharedExpertScale: number;
}

/** What an expert computes, as native/core/activation.h declares it. */
export interface NativeActivation {
  kind:
    | 'swiglu'
    | 'swiglu_oai'
    | 'geglu'
    | 'geglu_tanh'
    | 'gelu'
    | 'gelu_tanh'
    | 'relu'
    | 'relu2'
    | 'silu';
  alpha: number;
  /** Infinity: none. */
  limit: number;
  clamp: 'before' | 'after';
}

export interface NativeLayerSpec {
  moe: NativeMoEConfig;
  hiddenSize: number;
  intermediateSize: number;
  /** 0 when there is no shared expert. */
  sharedSize: number;
  /** 0: the experts' rows are as wide as tokens. */
  latentSize: number;
  activation: NativeActivation;
  sharedActivation: NativeActivation;
  weightType: WeightType;
  /** Inputs that share a scale; 0: all of an output's, and for floats. */
  weightGroup: number;
  activationType: ActivationType;
  /** 0: all of the device's. */
  threads: number;
  /** Calls that may wait on the device before a further one fails with ERR_MOE_QUEUE_FULL. */
  maxQueue: number;
}

/** One call. Arrays are borrowed until the promise settles. Without `output` the batch is only routed. */
export interface NativeCall {
  hidden: Float32Array | Uint16Array;
  dtype: 'float32' | 'bfloat16' | 'float16';
  tokens: number;
  /** [T, K]: the choices are these, and the router only weighs them. Copied at once. */
  experts?: Int32Array | undefined;
  output?: Float32Array;
  /** [T, K] */
  expertIds?: Int32Array | undefined;
  /** [T, K] */
  weights?: Float32Array | undefined;
  /** [E] */
  expertLoad?: Uint32Array;
  /** auxLoss, zLoss, droppedChoices, capacity (-1 when dropless) */
  totals?: Float64Array;
  /**
   * [E], [E, R], [E, I], [S]: instead of running, adds the tokens of each expert and the squares of what its products read: gate
   * and up, down, and the always-on expert's down. R is the latent size, or H.
   */
  routedTokens?: Float64Array;
  routedSquares?: Float64Array;
  intermediateSquares?: Float64Array;
  sharedSquares?: Float64Array;
  cancellation?: NativeCancellation | undefined;
}

/** One rank of a group, before and after it has met the others. */
export interface NativeGroup {
  /** What the others need to reach it. */
  readonly contact: Uint8Array;
  /** Meets the others, given everybody's contact in order of ranks. */
  connect(contacts: readonly Uint8Array[]): Promise<void>;
  /** Times exchanges. Throws while layers are on it. */
  measure(): Promise<NativeLinkCost>;
  /** Leaves when all do. Throws while layers are on it. Safe to call twice. */
  close(): Promise<void>;
}

/** What an exchange between ranks costs. */
export interface NativeLinkCost {
  /** Of an exchange of next to nothing. */
  secondsPerExchange: number;
  /** What one rank sends to all others together, while all do. */
  bytesPerSecond: number;
}

export interface NativeGroupOptions {
  rank: number;
  size: number;
  modelParallel: number;
  led: boolean;
  timeoutMs: number;
  transport: string;
  /** Of the interface to use. */
  address: string;
}

/** How a layer is spread over ranks. */
export interface NativeParallel {
  group: NativeGroup;
  /** The experts of each set of ranks. */
  expertsOfSet: readonly Int32Array[];
  /** compCommParallelDegree, 1 without compCommParallel. */
  chunks: number;
  groupWise: boolean;
  /** Lines `name=value` of all that describes the layer: those of every rank must be the same. */
  facts: string;
}

/** What a device made of weights. No parts where it cannot tell. */
export interface NativePacked {
  layout: string;
  parts: { name: string; byteLength: number }[];
}

export interface NativeLayer {
  readonly weightBytes: number;
  packed(): NativePacked;
  /** Bytes [offset, offset + length) of a part, copied. */
  readPacked(part: number, offset: number, length: number): Uint8Array;
  /** Sentences about how the device runs the layer. */
  readonly notes: string[];
  /** Every stage, after `close`, too. Empty unless the layer was made to take the times. */
  readonly profile: NativeStageTime[];
  forward(call: NativeCall): Promise<void>;
  forwardSync(call: NativeCall): void;
  /** Adds up the values of one rank of each set, in place. Every rank calls it. */
  sumOverGroup(values: Float64Array): Promise<void>;
  /** The layer's number among those of its group, from 0. */
  readonly numberInGroup: number;
  /** In a led group, on another rank than 0: the number of the layer that rank 0 runs next; -1 when it leaves. */
  nextCall(): Promise<number>;
  /** Rejects waiting calls with ERR_MOE_CLOSED, lets the running one end, frees the weights. Safe to call twice. */
  close(): Promise<void>;
}

/** What a stage of a layer has taken so far. */
export interface NativeStageTime {
  stage: string;
  /** Times it ran. */
  count: number;
  /** Of all of them together. */
  seconds: number;
}

/** A way in which a device holds experts' weights. */
export interface NativeHeldWeights {
  /** As `weightType`. */
  type: WeightType;
  /** What `weightGroup` may be, its default first. None for floats. */
  groups: (number | 'all')[];
  /** What `activationType` may be, `'float'` first. */
  activationTypes: ActivationType[];
}

/** One piece of hardware. */
export interface NativeDevice {
  /** The N of `cuda:N`. */
  index: number;
  /** The maker's name of it. */
  name: string;
  /** Which kernels were chosen, and from what. */
  kernels: string;
  /** Threads that work on a layer; 0 where the word has no meaning. */
  threads: number;
  /** 0 when unknown. */
  memoryBytes: number;
  /** True for a stand-in that computes on the CPU what the device would. */
  emulated: boolean;
  /** How it can hold experts. */
  weights: NativeHeldWeights[];
  /** Experts that a layer may have at most; 0: any number. */
  maxExperts: number;
}

export interface NativeBackendStatus {
  name: 'ascend' | 'cuda' | 'cpu';
  /** Empty when it can run here. */
  reason: string;
  devices: NativeDevice[];
}

/** What this machine's CPU can do at most, measured now. */
export interface NativeMachinePeak {
  threads: number;
  /** Multiply-adds in registers, two flops each. */
  gflops: number;
  /** Reading memory that no cache holds. */
  gigabytesPerSecond: number;
}

/** The addon's whole surface. test/binding/native.test.ts compares it with what native/addon exports. */
export interface NativeBinding {
  readonly buildId: string;
  /** The codes of native/core/error.h, in order. */
  readonly errorCodes: string[];
  devices(): NativeBackendStatus[];
  /** Looks for plugins in this folder, too. Does nothing where `MOE_PLUGIN_PATH` says where. */
  addPluginFolder(folder: string): void;
  mapFile(path: string): NativeFile;
  createLayer(
    device: string,
    index: number,
    spec: NativeLayerSpec,
    weights: LayerWeightViews,
    onProgress?: (done: number, total: number) => void,
    cancellation?: NativeCancellation,
    parallel?: NativeParallel,
    profile?: boolean,
  ): Promise<NativeLayer>;
  /** Makes a model without layers yet, on a device that has what decoders need. */
  createModel(device: string, index: number, spec: NativeModelSpec): Promise<NativeModel>;
  Group: new (options: NativeGroupOptions) => NativeGroup;
  Cancellation: new () => NativeCancellation;
  /** Runs for about `seconds` on `threads` threads (0: all), off the JS thread. */
  measureMachinePeak(threads: number, seconds: number): Promise<NativeMachinePeak>;
}

/** Plugins that come in packages of their own, `node-moe-<name>-<platform>-<arch>`, each with one library. */
const packagedPlugins = ['cuda', 'gloo'];

let binding: NativeBinding | undefined;

/**
 * The addon: a local build if there is one, else the prebuilt binary of this platform; `MOE_ADDON` names another file.
 * Throws what the system says where none loads; `noAddon` of src/binding/addon_failure.ts makes an error for people of it.
 */
export function loadNative(): NativeBinding {
  binding ??= load();
  return binding;
}

/** Where the addon is looked for. */
export interface AddonPlace {
  /** The file that `MOE_ADDON` names. */
  forced: string | undefined;
  /** The package's folder; undefined in a bundle, whose folder it is not. */
  root: string | undefined;
}

export function addonPlace(): AddonPlace {
  return { forced: process.env['MOE_ADDON'] || undefined, root: packageRoot() };
}

function packageRoot(): string | undefined {
  const url: string | undefined = import.meta.url; // bundles in CommonJS have none
  if (!url?.startsWith('file:')) return undefined;
  const root = resolve(dirname(fileURLToPath(url)), '../..');
  try {
    const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    return name === 'node-moe' ? root : undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : root;
  }
}

function load(): NativeBinding {
  const { forced, root } = addonPlace();
  if (forced === undefined && root === undefined) throw new Error('it was bundled with other code');
  const require = createRequire(join(root ?? process.cwd(), 'package.json'));
  const file = forced ? resolve(forced) : prebuilt(require, root as string);
  expectAddon(file);
  const loaded: NativeBinding = require(file);
  if (typeof loaded.addPluginFolder !== 'function') throw new Error(`${file} is another addon`);
  for (const folder of pluginFolders(require)) loaded.addPluginFolder(folder);
  return loaded;
}

function prebuilt(require: NodeJS.Require, root: string): string {
  readdirSync(root); // node-gyp-build takes a folder that may not be read for an empty one
  return require('node-gyp-build').path(root);
}

/**
 * What is no library Node runs as JavaScript, or reads as JSON. Opening a library that was cut off ends the process: ELF
 * has its section table last, which must be inside the file.
 */
function expectAddon(file: string): void {
  const descriptor = openSync(file, 'r');
  try {
    const header = new DataView(new ArrayBuffer(64));
    const read = readSync(descriptor, header, 0, 64, 0);
    if (!file.endsWith('.node')) throw new Error(`the name of ${file} does not end in .node`);
    if (read < 64 || header.getUint32(0) !== 0x7f454c46)
      throw new Error(`${file}: invalid ELF header`);
    const sections = Number(header.getBigUint64(0x28, true));
    const end = sections + header.getUint16(0x3a, true) * header.getUint16(0x3c, true);
    const { size } = fstatSync(descriptor);
    if (size < end) throw new Error(`${file} was cut off at ${size} of ${end} bytes`);
  } finally {
    closeSync(descriptor);
  }
}

/** Folders of the plugin packages that are installed. The addon refuses a plugin of another version, and says so. */
function pluginFolders(require: NodeJS.Require): string[] {
  return packagedPlugins.flatMap((name) => {
    const manifest = `node-moe-${name}-${process.platform}-${process.arch}/package.json`;
    try {
      return [dirname(require.resolve(manifest))];
    } catch {
      return []; // not installed
    }
  });
}
