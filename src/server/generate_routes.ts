import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GenerateOptions, TextModel } from '../model/types.js';
import type { AnswerForm } from './answers.js';
import { ChatAnswer } from './chat_answer.js';
import { CompletionAnswer } from './completion_answer.js';
import { ClientGone } from './connections.js';
import { echoesOf } from './echo.js';
import { asApiError, invalid } from './errors.js';
import { EventStream, type StreamLimits } from './event_stream.js';
import { Collector, generateAll, usageOf } from './generation.js';
import { jsonOf } from './growing_lists.js';
import type { Metrics } from './metrics.js';
import { expectModel, readRequest } from './read_request.js';
import type { ServedModel } from './served_model.js';
import { templated } from './template.js';
import { expectTokens } from './token_routes.js';
import type { Route, Wanted } from './wanted.js';

export interface GenerateContext {
  served: ServedModel;
  metrics: Metrics;
  limits: StreamLimits;
  defaultMaxTokens: number | undefined;
  onUnknownField: (name: string) => void;
  /** Is told of what is nobody's fault but the server's. */
  onFailure: (cause: unknown) => void;
}

/** Answers that one request may ask for: more would only fill the memory before the queue refuses them. */
const maxAnswers = 1024;

/** Answers a chat or a completion. */
export async function answer(
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
  context: GenerateContext,
): Promise<unknown> {
  const { served, metrics, limits } = context;
  const model = served.expectReady();
  const { body, stop } = request;
  const wanted = readRequest(body, route, context.defaultMaxTokens, context.onUnknownField);
  expectModel(wanted.model, served.name);
  expectBias(model, wanted);
  const sequences = sequencesOf(route, model, wanted);
  const form =
    route === 'chat'
      ? new ChatAnswer(wanted, served.name)
      : new CompletionAnswer(wanted, served.name, await echoesOf(model, wanted, stop.signal));
  const run = { model, sequences, wanted, metrics, stop, onFailure: context.onFailure };
  return wanted.stream
    ? answerInEvents(run, form, new EventStream(reply, limits, stop, () => form.opening()))
    : reply.type('application/json; charset=utf-8').send(jsonOf(await answerWhole(run, form)));
}

interface Run {
  model: TextModel;
  sequences: readonly GenerateOptions[];
  wanted: Wanted;
  metrics: Metrics;
  stop: AbortController;
  onFailure: (cause: unknown) => void;
}

async function answerWhole(run: Run, form: AnswerForm): Promise<object> {
  const answers = run.sequences.map(
    (_, index) => new Collector((logprobs) => form.logprobs(index, logprobs)),
  );
  const usages = await generateAll(run.model, run.sequences, run, (index, piece) =>
    answers[index]?.add(piece),
  );
  return form.whole(
    answers.map((one) => one.answer),
    usageOf(usages, run.wanted.n),
  );
}

async function answerInEvents(run: Run, form: AnswerForm, stream: EventStream): Promise<void> {
  try {
    const usages = await generateAll(run.model, run.sequences, run, (index, piece) =>
      stream.send(form.piece(index, piece)),
    );
    if (run.wanted.usageInStream) stream.send([form.usage(usageOf(usages, run.wanted.n))]);
    stream.end();
  } catch (error) {
    if (!stream.begun) {
      stream.withdraw();
      throw error;
    }
    if (error instanceof ClientGone) return stream.withdraw();
    // The status is sent: the error is the last event.
    const told = asApiError(error);
    if (told.cause !== undefined) run.onFailure(told.cause);
    stream.end(told.body);
  }
}

/** What each answer begins with, all answers to the first prompt first. */
function sequencesOf(route: Route, model: TextModel, wanted: Wanted): GenerateOptions[] {
  const { options, messages, prompts, n } = wanted;
  if (prompts.length * n > maxAnswers)
    throw invalid(
      `Expected at most ${maxAnswers} answers of a request, got ${prompts.length * n}`,
      {
        param: 'prompt',
      },
    );
  const begun =
    route === 'chat'
      ? [templated(model, messages, options)]
      : prompts.map((prompt): GenerateOptions => {
          if (typeof prompt === 'string') return { ...options, prompt };
          expectTokens(model, 'prompt', prompt);
          return { ...options, tokens: prompt };
        });
  return begun.flatMap((one) => Array.from({ length: n }, (_, choice) => ({ ...one, choice })));
}

function expectBias(model: TextModel, { options }: Wanted): void {
  expectTokens(model, 'logit_bias', Object.keys(options.logitBias ?? {}).map(Number));
}
