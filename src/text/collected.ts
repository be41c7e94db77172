import type { ChannelText } from './channel.js';
import type { ToolCall } from './types.js';

/** The pieces of an answer, put together. */
export class Collected {
  text = '';
  reasoning = '';
  readonly toolCalls: ToolCall[] = [];

  add({ text, reasoning, toolCalls }: ChannelText): void {
    this.text += text;
    this.reasoning += reasoning;
    for (const { index, id = '', name = '', arguments: more } of toolCalls) {
      this.toolCalls[index] ??= { id, type: 'function', function: { name, arguments: '' } };
      this.toolCalls[index].function.arguments += more;
    }
  }
}
