/// <reference lib="esnext.disposable" preserve="true" />
import { onAbort } from '../base/abort.js';
import { expectInside, inside } from '../base/checks.js';
import { CheckpointError, ClosedError, ConfigError } from '../base/errors.js';
import { expectOptions } from '../base/rows.js';
import { addon } from '../binding/addon.js';
import type { DeviceName } from '../binding/devices.js';
import { kvBlock } from '../binding/model.js';
import type { TensorFiles } from '../checkpoint/containers/tensor_files.js';
import type { ChatTemplate } from '../text/chat_template.js';
import { Collected } from '../text/collected.js';
import type { CheckpointTokenizer } from '../text/tokenizer.js';
import { toolCallsOf } from '../text/tool_calls.js';
import { Answer, logprobOf } from './answer.js';
import { callHashOf } from './call_ids.js';
import {
  endTokensOf,
  expectGenerateOptions,
  expectTokenIds,
  newTokensOf,
  samplingOf,
  scoreRows,
  templateRows,
} from './generate_options.js';
import { type LoadedModel, loadModel } from './load.js';
import type { ModelLoadOptions } from './options.js';
import { PieceQueue } from './piece_queue.js';
import { Scheduler, type SequenceRequest } from './scheduler.js';
import { BlockInputs, type Scored } from './step.js';
import type {
  Chat,
  Completion,
  GenerateOptions,
  ModelLoad,
  Piece,
  ScoreOptions,
  TextModel,
  TextTokenizer,
  TokenLogprob,
} from './types.js';

/** Rows of a step: with more of them each expert has rows enough for its weights to be read once, with fewer others wait less. */
const stepTokens = 512;
const defaultMaxWaiting = 256;
/** Rows of a step of `logits` and `perplexity`. */
const scoreTokens = 128;

/** Who reads an answer. */
interface Reader {
  /** Whether it has had enough. */
  left: boolean;
  /** Ends its sequence. */
  leave(): void;
}

/** A whole Mixture-of-Experts language model on one device: text in, text out. */
export class MoEModel implements TextModel, AsyncDisposable {
  /** The checkpoint's parsed `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** As `config.json` has it. */
  readonly modelType: string;
  /** Tokens that one sequence may have, prompt and answer together. */
  readonly contextLength: number;
  /** Rows of the embedding; the tokenizer may have fewer tokens. */
  readonly vocabularySize: number;
  /** Where it runs. */
  readonly device: DeviceName;
  /** What weights occupy on the device. */
  readonly weightBytes: number;
  /** What the cache of keys and values occupies. */
  readonly cacheBytes: number;
  /** Sentences about what of the checkpoint has no effect. */
  readonly diagnostics: readonly string[];
  /** The source of the chat template; undefined where there is none. */
  readonly chatTemplate: string | undefined;

  readonly #loaded: LoadedModel;
  readonly #scheduler: Scheduler;
  readonly #tokenizer: CheckpointTokenizer | Error;
  readonly #template: ChatTemplate | undefined;
  #closed: Promise<void> | undefined;

  private constructor(
    key: symbol,
    loaded: LoadedModel,
    tokenizer: CheckpointTokenizer | Error,
    template: ChatTemplate | undefined,
    options: ModelLoadOptions,
  ) {
    expectInside(key, 'a model', 'MoEModel.load');
    const { description, native } = loaded;
    this.#loaded = loaded;
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.config = loaded.config;
    this.modelType = description.modelType;
    this.contextLength = description.spec.contextLength;
    this.vocabularySize = description.spec.vocabularySize;
    this.device = loaded.device;
    this.weightBytes = native.weightBytes;
    this.cacheBytes = native.cacheBytes;
    this.diagnostics = loaded.notes;
    this.chatTemplate = template?.source;
    const binding = addon();
    this.#scheduler = new Scheduler(native, {
      stepTokens,
      maxWaiting: options.maxWaiting ?? defaultMaxWaiting,
      prefixCache: options.prefixCache ?? true,
      newCancellation: () => new binding.Cancellation(),
    });
  }

  /**
   * Loads a checkpoint folder (config, safetensors, and where there are ones tokenizer and chat template), or a GGUF file,
   * which has all of that in itself.
   *
   * @throws `ConfigError`, `CheckpointError`, `DeviceError`, and the signal's reason when aborted
   */
  static async load(path: string, options: ModelLoadOptions = {}): Promise<MoEModel> {
    return MoEModel.of(path, options);
  }

  /** @internal What `load` gives, of files that may be open. */
  static async of(path: string, options: ModelLoadOptions, files?: TensorFiles): Promise<MoEModel> {
    const loaded = await loadModel(path, options, files);
    try {
      const { openText } = await import('./open_text.js');
      const { tokenizer, template } = await openText(loaded);
      return new MoEModel(inside, loaded, tokenizer, template, options);
    } catch (error) {
      await loaded.close();
      throw error;
    }
  }

  /** @internal What runs on token ids. */
  static fromLoaded(loaded: LoadedModel, options: ModelLoadOptions = {}): MoEModel {
    const error = new CheckpointError('Expected a checkpoint with a tokenizer, got none');
    return new MoEModel(inside, loaded, error, undefined, options);
  }

  /** @throws `CheckpointError` where the checkpoint has none that is understood */
  get tokenizer(): TextTokenizer {
    return this.#needTokenizer();
  }

  /**
   * Generates text, piece by piece: what one step of the model added, or several where the reader is slower. Leaving the loop ends the
   * sequence. Any number may run at once; none changes what another gives.
   *
   * @throws `ConfigError` and `ShapeError` for options and prompts that cannot be, at once; while it is read: `DeviceError` with
   *   `ERR_MOE_QUEUE_FULL` when `maxWaiting` wait, `ClosedError`, the signal's reason
   */
  generate(options: GenerateOptions): AsyncIterableIterator<Piece> {
    expectGenerateOptions(options);
    if (options.tokens !== undefined) expectTokenIds('tokens', options.tokens, this.vocabularySize);
    if (options.messages !== undefined && this.#template === undefined)
      throw new ConfigError(
        'Expected a checkpoint with a chat template, which `messages` need, got none',
      );
    if (options.tools?.length && !toolCallsOf(this.#template?.sourceFor(options.tools) ?? ''))
      throw new ConfigError(
        'Expected `tools` with a chat template whose form of calls is known, got another',
      );
    if (options.tokens === undefined || options.stop !== undefined) this.#needTokenizer();
    this.#expectOpen();
    const reader: Reader = { left: false, leave: () => {} };
    const pieces = this.#generate(options, reader);
    const end = pieces.return.bind(pieces);
    // By itself `return` of a generator waits for the piece that is being waited for.
    pieces.return = (value) => {
      reader.left = true;
      reader.leave();
      return end(value);
    };
    return pieces;
  }

  /**
   * Generates a whole answer.
   *
   * @throws what `generate` throws
   */
  async complete(options: GenerateOptions): Promise<Completion> {
    const collected = new Collected();
    const tokens: number[] = [];
    const logprobs: TokenLogprob[] = [];
    let last: Piece | undefined;
    for await (const piece of this.generate(options)) {
      collected.add(piece);
      tokens.push(...piece.tokens);
      logprobs.push(...(piece.logprobs ?? []));
      last = piece;
    }
    const { text, reasoning, toolCalls } = collected;
    const { finishReason, stopReason, usage, seed } = last as Required<Piece>;
    return {
      ...{ text, reasoning, toolCalls, tokens, finishReason, usage, seed },
      ...(stopReason !== undefined && { stopReason }),
      ...(options.logprobs !== undefined && { logprobs }),
    };
  }

  /**
   * Logits `[T, V]` of every token of a text: what would follow it. The text waits for its turn and for room in the cache as a
   * sequence of `generate` does.
   *
   * @throws `ConfigError`, `ShapeError`, `DeviceError` with `ERR_MOE_QUEUE_FULL`, `ClosedError`, the signal's reason
   */
  async logits(tokens: ArrayLike<number>, options: ScoreOptions = {}): Promise<Float32Array> {
    const size = this.vocabularySize;
    return this.#score(tokens, options, size, (all) => (step, row, rows) => {
      step.logits = all.subarray(row * size, (row + rows) * size);
    });
  }

  /**
   * Natural log-probabilities of a text's tokens after those before them, `[T - 1]`.
   *
   * @throws what `logits` throws
   */
  async logprobs(tokens: ArrayLike<number>, options: ScoreOptions = {}): Promise<Float32Array> {
    const all = await this.#score(tokens, options, 1, (all) => (step, row, rows) => {
      step.nextLogprobs = all.subarray(row, row + rows);
    });
    return all.subarray(0, -1);
  }

  /** @internal What enters the feed-forward part of each layer at every token of a text, `[T, H]`. */
  async blockInputs(
    tokens: ArrayLike<number>,
    options: ScoreOptions = {},
  ): Promise<Float32Array[]> {
    const inputs = new BlockInputs(this.#loaded.description.spec, tokens.length);
    await this.#score(tokens, options, 0, () => inputs.place);
    return inputs.ofLayers();
  }

  /**
   * The text that the checkpoint's chat template makes of messages.
   *
   * @throws `ConfigError`
   */
  async applyTemplate(chat: Chat): Promise<string> {
    expectOptions<Chat>('applyTemplate', chat, templateRows);
    return (await this.#segmentsOf(chat)).join('');
  }

  /** What runs and waits now. */
  inUse(): ModelLoad {
    const { blocks, freeBlocks } = this.#loaded.native.usage();
    return {
      running: this.#scheduler.running,
      waiting: this.#scheduler.waiting,
      kvTokens: blocks * kvBlock,
      kvTokensUsed: (blocks - freeBlocks) * kvBlock,
    };
  }

  /** Tokens that each expert has served, for each layer; empty for a dense one. */
  load(): Float64Array[] {
    this.#expectOpen();
    const { native, description } = this.#loaded;
    return Array.from({ length: description.spec.layers }, (_, layer) => native.expertLoad(layer));
  }

  /** Ends sequences with `ClosedError`, then frees the weights. May be called twice. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#scheduler.close();
      if (!(this.#tokenizer instanceof Error)) await this.#tokenizer.close();
      await this.#loaded.close();
    })();
    return this.#closed;
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #expectOpen(): void {
    if (this.#closed !== undefined) throw new ClosedError('The model is closed');
  }

  #needTokenizer(): CheckpointTokenizer {
    if (this.#tokenizer instanceof Error) throw this.#tokenizer;
    return this.#tokenizer;
  }

  async #segmentsOf(chat: Chat, signal?: AbortSignal): Promise<string[]> {
    if (this.#template === undefined)
      throw new ConfigError('Expected a checkpoint with a chat template, got none');
    return this.#template.render(chat, signal);
  }

  async #tokensOf(options: GenerateOptions, signal: AbortSignal): Promise<Int32Array> {
    const { tokens, prompt } = options;
    if (tokens !== undefined) return Int32Array.from(tokens);
    if (prompt !== undefined) return this.#needTokenizer().encode(prompt, { signal });
    const segments = await this.#segmentsOf(options as Chat, signal);
    // The template writes what begins a text.
    return this.#needTokenizer().worker.encode(segments, false, { signal });
  }

  /** The tokens of a prompt; undefined where its reader left meanwhile. */
  async #tokensFor(options: GenerateOptions, reader: Reader): Promise<Int32Array | undefined> {
    const { signal } = options;
    signal?.throwIfAborted();
    const stop = new AbortController();
    reader.leave = () => stop.abort();
    const forget = signal && onAbort(signal, () => stop.abort(signal.reason));
    try {
      return await this.#tokensOf(options, stop.signal);
    } catch (error) {
      if (reader.left) return undefined;
      throw error;
    } finally {
      forget?.();
    }
  }

  async *#generate(options: GenerateOptions, reader: Reader): AsyncGenerator<Piece> {
    const { signal } = options;
    const { description } = this.#loaded;
    const tokens = await this.#tokensFor(options, reader);
    if (tokens === undefined || reader.left) return;
    expectTokenIds('tokens', tokens, this.vocabularySize);
    const newTokens = newTokensOf(tokens.length, options.maxTokens, {
      contextLength: this.contextLength,
      kvTokens: this.inUse().kvTokens,
    });
    const tokenizer = this.#tokenizer instanceof Error ? undefined : this.#tokenizer;
    const endTokens = endTokensOf(options, description.endTokens);
    const vocabulary = Math.min(tokenizer?.size ?? this.vocabularySize, this.vocabularySize);
    const sampling = samplingOf(options, description.sampling, endTokens, vocabulary);
    const answer = new Answer({
      ...{ tokenizer, prompt: tokens, endTokens, maxTokens: newTokens },
      callHash: callHashOf(tokens, sampling),
      template: options.messages && this.#template?.sourceFor(options.tools),
      tools: options.tools ?? [],
      stop: typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []),
      minTokens: options.minTokens ?? 0,
    });
    const pieces = new PieceQueue();
    let cachedTokens = 0;
    const request: SequenceRequest = {
      ...{ tokens, newTokens, sampling, signal },
      admitted: (cached) => {
        cachedTokens = cached;
      },
      sampled: (sampled) => {
        const { token } = sampled;
        const { finishReason, ...added } = answer.push(token);
        const logprobs =
          options.logprobs === undefined ? {} : { logprobs: [logprobOf(sampled, tokenizer)] };
        const piece: Piece = { ...added, tokens: [token], ...logprobs };
        if (finishReason === undefined) pieces.add(piece);
        else
          pieces.add({
            ...piece,
            finishReason,
            seed: sampling.seed,
            usage: {
              ...{ promptTokens: tokens.length, cachedTokens },
              ...{ completionTokens: answer.tokens, reasoningTokens: answer.reasoningTokens },
            },
          });
        return finishReason === undefined;
      },
      ended: (reason) => pieces.end(reason),
    };
    this.#scheduler.add(request);
    reader.leave = () => this.#scheduler.leave(request, undefined);
    try {
      yield* pieces;
    } finally {
      reader.leave();
    }
  }

  /** Runs a text's tokens piece by piece, beside whatever else runs; `placed` says where the numbers of each step go. */
  async #score(
    tokens: ArrayLike<number>,
    options: ScoreOptions,
    numbers: number,
    placed: (all: Float32Array) => Scored['place'],
  ): Promise<Float32Array> {
    expectTokenIds('tokens', tokens, this.vocabularySize);
    expectOptions<ScoreOptions>('logits and logprobs', options, scoreRows);
    this.#expectOpen();
    const all = new Float32Array(tokens.length * numbers);
    if (tokens.length === 0) return all;
    const scored = { rows: scoreTokens, place: placed(all) };
    await this.#scheduler.score(Int32Array.from(tokens), scored, options.signal);
    return all;
  }
}
