// How texts are cut into words before byte-level BPE. GGUF files only name it: the patterns are those of the models' tokenizers.

/** How a tokenizer cuts texts into the words whose bytes it merges. */
export interface PreTokenizer {
  /** Patterns. Each cuts the pieces that those before it made, into its matches and what stands between them. */
  readonly splits: readonly string[];
  /** Characters are composed first (NFC), as in the models' own tokenizers. */
  readonly composes?: true;
  /** A word that is a token is that token, whatever its bytes would merge to. */
  readonly takesWords?: true;
  /** Texts begin with the token for it, unless the file says otherwise. */
  readonly beginsTexts?: true;
}

const { raw } = String;
const endings = raw`'s|'t|'re|'ve|'m|'ll|'d`;
const anyEndings = `(?i:${endings})`;
const gaps = raw`\s+(?!\S)|\s+`;
const lines = raw`\s*[\r\n]+`;

const gpt2 = raw`${endings}| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|${gaps}`;

/** Words as GPT-4 has them; models differ in what letters are, and in how many digits stand together. */
const gpt4 = (digits: string, letters = raw`\p{L}`) =>
  raw`${anyEndings}|[^\r\n\p{L}\p{N}]?[${letters}]+|${digits}| ?[^\s${letters}\p{N}]+[\r\n]*|${lines}|${gaps}`;

/**
 * Words that end where a small letter is followed by a capital one, or with one of `ends`.
 *
 * @param options what letters are `not` in words, and what else stands `after` punctuation
 */
const byCase = (digits: string, options: { ends?: string; not?: string; after?: string }) => {
  const { ends = '', not = '', after = raw`\r\n` } = options;
  const capitals = raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}${not}]`;
  const smalls = raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}${not}]`;
  const before = raw`[^\r\n\p{L}\p{N}]?`;
  return raw`${before}${capitals}*${smalls}+${ends}|${before}${capitals}+${smalls}*${ends}|${digits}| ?[^\s\p{L}\p{N}]+[${after}]*|${lines}|${gaps}`;
};

const oneDigit = raw`\p{N}`;
const threeDigits = raw`\p{N}{1,3}`;
const optionalEndings = `${anyEndings}?`;

/** Letters of scripts with capitals, as far as the pattern of DeepSeek's first models lists them. */
const casedLetters = raw`[\p{LC}\u0295&&[^\u0560-\u0588\u10C7-\u10FF\u1C80-\u1C8A\u2D00-\u2D2D\uA790-\uA7FA\uAB30-\uAB68\u{10570}-\u{105BC}\u{10D50}-\u{10D85}\u{16E40}-\u{1DF2A}]]`;
const eastAsian = raw`[\u0800-\u9FA5\uAC00-\uD7FF]+`;

const deepSeekV3 = [
  threeDigits,
  raw`[\u4E00-\u9FA5\u3040-\u30FF]+`,
  raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_\x60{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${lines}|${gaps}`,
];

const rows: readonly [names: readonly string[], how: PreTokenizer][] = [
  [
    ['gpt-2', 'phi-2', 'gigachat', 'a.x-4.0', 'exaone4', 'mellum', 'trillion', 'granite-docling'],
    { splits: [gpt2] },
  ],
  [['olmo'], { splits: [gpt2], composes: true }],
  [
    ['refact', 'starcoder', 'smollm', 'command-r', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    { splits: [oneDigit, gpt2] },
  ],
  [
    ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
    { splits: [gpt4(threeDigits)], takesWords: true, beginsTexts: true },
  ],
  [['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], { splits: [gpt4(threeDigits)] }],
  [['qwen2'], { splits: [gpt4(oneDigit)], composes: true }],
  [['qwen35'], { splits: [gpt4(oneDigit, raw`\p{L}\p{M}`)], composes: true }],
  [
    ['deepseek-r1-qwen', 'megrez', 'kormo', 'hunyuan', 'solar-open', 'stablelm2', 'grok-2'],
    { splits: [gpt4(oneDigit)] },
  ],
  [
    ['gpt-4o', 'llama4', 'kanana2', 'minimax-m2'],
    { splits: [byCase(threeDigits, { ends: optionalEndings, after: raw`\r\n/` })] },
  ],
  [
    ['tekken'],
    { splits: [byCase(oneDigit, { after: raw`\r\n/` })], takesWords: true, beginsTexts: true },
  ],
  [
    ['kimi-k2'],
    {
      splits: [
        raw`[\p{Han}]+|${byCase(threeDigits, { ends: optionalEndings, not: raw`&&[^\p{Han}]` })}`,
      ],
    },
  ],
  [
    ['deepseek-llm'],
    {
      splits: [
        raw`[\r\n]`,
        raw`\s?${casedLetters}+`,
        raw`\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+`,
        raw`\s+$`,
        eastAsian,
        raw`\p{N}+`,
      ],
    },
  ],
  [
    ['deepseek-coder'],
    { splits: [raw`[\r\n]`, raw`\s?\p{L}+`, raw`\s?\p{P}+`, eastAsian, oneDigit] },
  ],
  [['deepseek-v3', 'hunyuan-dense', 'joyai-llm'], { splits: deepSeekV3 }],
  [
    ['bailingmoe', 'bailingmoe2', 'llada-moe'],
    {
      splits: [
        raw`${anyEndings}|[^\r\n\p{L}\p{N}]?\p{L}+|${oneDigit}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|${gaps}`,
      ],
    },
  ],
  [['default'], { splits: [raw`[\p{P}$+<=>^~|]+`, gpt2, raw`\p{N}+`, '[0-9]{3}'] }],
];

/** By what a file calls it. */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map(
  rows.flatMap(([names, how]) => names.map((name): [string, PreTokenizer] => [name, how])),
);
