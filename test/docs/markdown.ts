// Code blocks of Markdown files.

export interface CodeBlock {
  /** `README.md:12`, the line of its first line of code. */
  place: string;
  /** What follows the opening fence; `sh` for an indented block. */
  language: string;
  code: string;
  /** Why it is not run: what stands in a comment `<!-- not run: why -->` before it. */
  notRun: string | undefined;
  /** The line of text before it. */
  above: string;
}

/** The fenced and indented code blocks of a text, in order. */
export function codeBlocks(file: string, text: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; at++) {
    const [, indent, language] = /^(\s*)```(.*)$/.exec(lines[at] ?? '') ?? [];
    if (indent !== undefined && language !== undefined) {
      const begin = at + 1;
      at = lines.findIndex((line, i) => i >= begin && line.trim() === '```');
      if (at < 0) throw new Error(`${file}:${begin}: a code block without an end`);
      const code = lines.slice(begin, at).map((line) => line.slice(indent.length));
      blocks.push({
        place: `${file}:${begin + 1}`,
        language: language.trim(),
        code: code.join('\n'),
        notRun: reasonAbove(lines, begin - 1),
        above: textAbove(lines, begin - 1),
      });
    } else if (/^ {4}\S/.test(lines[at] ?? '') && (lines[at - 1] ?? '') === '') {
      const begin = at;
      while (/^ {4}/.test(lines[at + 1] ?? '')) at++;
      const code = lines.slice(begin, at + 1).map((line) => line.slice(4));
      const place = `${file}:${begin + 1}`;
      const notRun = reasonAbove(lines, begin);
      const above = textAbove(lines, begin);
      blocks.push({ place, language: 'sh', code: code.join('\n'), notRun, above });
    }
  }
  return blocks;
}

/** The reason in a comment above a line, an empty line between them or not. */
function reasonAbove(lines: readonly string[], at: number): string | undefined {
  const above = lines[at - 1] === '' ? lines[at - 2] : lines[at - 1];
  return /^\s*<!-- not run: (.+) -->$/.exec(above ?? '')?.[1];
}

function textAbove(lines: readonly string[], at: number): string {
  return (
    lines.slice(0, at).findLast((line) => line.trim() !== '' && !line.startsWith('<!--')) ?? ''
  );
}
