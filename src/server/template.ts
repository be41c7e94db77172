import type { ChatMessage, TextModel } from '../model/types.js';
import { invalid } from './errors.js';

/** Options with the chat as the model's template knows it. */
export function templated<Options extends object>(
  { chatTemplate }: TextModel,
  messages: readonly ChatMessage[],
  options: Options,
): Options & { messages: readonly ChatMessage[] } {
  if (chatTemplate === undefined)
    throw invalid('The model has no chat template: use /v1/completions', { param: 'messages' });
  // Newer clients say `developer` for what most templates call `system`.
  const known = chatTemplate.includes('developer');
  const own = ({ role, ...rest }: ChatMessage): ChatMessage => ({
    role: role === 'developer' && !known ? 'system' : role,
    ...rest,
  });
  return { ...options, messages: messages.map(own) };
}
