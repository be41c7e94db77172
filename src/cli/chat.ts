import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { ConfigError, MoEError, type MoEErrorCode } from '../base/errors.js';
import type { MoEModel } from '../model/model.js';
import type { ChatMessage, GenerateOptions } from '../model/types.js';
import { checkpointArgument } from './options.js';
import { dim } from './text.js';
import {
  addGenerateFlags,
  addModelFlags,
  generateOptions,
  type ModelFlags,
  Stopwatch,
  withModel,
} from './text_model.js';

type Flags = ModelFlags & GenerateOptions & { system?: string };

export function addChat(program: Command): void {
  const command = program
    .command('chat')
    .description(
      'talks with a whole model: /reset begins anew, Ctrl-C stops an answer, then leaves',
    )
    .argument(...checkpointArgument)
    .option('--system <text>', 'what the model is told first');
  addModelFlags(addGenerateFlags(command)).action(chat);
}

async function chat(path: string, flags: Flags): Promise<void> {
  const loading = new AbortController();
  const interrupt = () => loading.abort();
  process.once('SIGINT', interrupt);
  await withModel(path, flags, loading.signal, async (model) => {
    process.off('SIGINT', interrupt);
    if (model.chatTemplate === undefined)
      throw new ConfigError(
        `Expected ${path} to have a chat template, got none: \`generate\` goes on with a text`,
      );
    await new Conversation(model, flags).run();
  });
}

/** What a chat may be: too long, or nothing that its template takes. Another one may be right. */
const ofChat: readonly MoEErrorCode[] = ['ERR_MOE_CONFIG', 'ERR_MOE_SHAPE', 'ERR_MOE_TIMEOUT'];

class Conversation {
  readonly #model: MoEModel;
  readonly #options: GenerateOptions;
  readonly #first: readonly ChatMessage[];
  #messages: ChatMessage[];
  #answer: AbortController | undefined;

  constructor(model: MoEModel, { system, ...flags }: Flags) {
    this.#model = model;
    this.#options = generateOptions(flags);
    this.#first = system === undefined ? [] : [{ role: 'system', content: system }];
    this.#messages = [...this.#first];
  }

  async run(): Promise<void> {
    const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: '> ' });
    // Ctrl-C stops what is being written; where nothing is, it leaves.
    lines.on('SIGINT', () => (this.#answer ? this.#answer.abort() : lines.close()));
    let ended = false;
    lines.once('close', () => {
      ended = true;
    });
    lines.prompt();
    for await (const line of lines) {
      if (line.trim() === '/reset') this.#messages = [...this.#first];
      else if (line.trim() !== '') await this.#say(line);
      // The lines of a file are read ahead, and behind its end nothing is asked for.
      if (!ended) lines.prompt();
    }
    process.stdout.write('\n');
  }

  async #say(content: string): Promise<void> {
    const messages = [...this.#messages, { role: 'user', content }];
    this.#answer = new AbortController();
    const { signal } = this.#answer;
    const watch = new Stopwatch();
    let text = '';
    try {
      for await (const piece of this.#model.generate({ ...this.#options, messages, signal })) {
        watch.piece();
        text += piece.text;
        process.stdout.write(dim(piece.reasoning) + piece.text);
        if (piece.usage !== undefined) process.stdout.write(`\n${dim(watch.line(piece.usage))}\n`);
      }
    } catch (error) {
      if (!signal.aborted) {
        if (!(error instanceof MoEError && ofChat.includes(error.code))) throw error;
        process.stderr.write(`node-moe: ${error.message}; /reset begins anew\n`);
        return;
      }
      process.stdout.write('\n');
    } finally {
      this.#answer = undefined;
    }
    this.#messages = [...messages, { role: 'assistant', content: text }];
  }
}
