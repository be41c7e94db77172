import { cpSync, mkdirSync, readFileSync, writeFileSync, existsSync } from 'node:fs';
import { test } from 'vitest';
import { writeGguf } from '../bench/gguf/write.mjs';
import { SafetensorsFile } from '../src/checkpoint/containers/file.js';
import { encodeSafetensors, type TensorToWrite } from '../src/checkpoint/containers/write.js';
import { quantised, formatsOf } from './fixtures/quantised.js';
import { ggufOf, storedModel } from './witness/llama.js';
import { metadataOf } from './text/gguf_metadata.js';
import { toBits } from './support/floats.js';
const src = 'test/data/tiny-mixtral';
const formats = formatsOf(32);
async function tensors() {
  const file = await SafetensorsFile.open(`${src}/model.safetensors`);
  const bytes = readFileSync(`${src}/model.safetensors`);
  const all: Record<string, TensorToWrite> = {};
  for (const [name, { dtype, shape, byteOffset, byteLength }] of file.tensors) {
    const part = bytes.subarray(byteOffset, byteOffset + byteLength);
    const copy = Uint8Array.from(part).buffer;
    all[name] = { dtype, shape, data: dtype === 'F32' ? new Float32Array(copy) : new Uint16Array(copy) } as TensorToWrite;
  }
  return all;
}
test('make', async () => {
  const all = await tensors();
  console.log(Object.entries(all).slice(0, 30).map(([n, t]) => `${n} ${t.dtype} ${t.shape}`).join('\n'));
  const write = (name: string, stored: Record<string, TensorToWrite>, config: object) => {
    const dir = `/tmp/pubpack/${name}`;
    mkdirSync(dir, { recursive: true });
    for (const f of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'generation_config.json'])
      if (existsSync(`${src}/${f}`)) cpSync(`${src}/${f}`, `${dir}/${f}`);
    const c = JSON.parse(readFileSync(`${src}/config.json`, 'utf8'));
    writeFileSync(`${dir}/config.json`, JSON.stringify({ ...c, ...config }));
    writeFileSync(`${dir}/model.safetensors`, Buffer.concat(encodeSafetensors(stored)));
  };
  const left = { ignore: ['lm_head', 're:.*gate$', 're:.*layers\\.1\\..*'], modules_to_not_convert: ['layers.1.', 'gate', 'lm_head'], dynamic: { '-:.*layers\\.1\\..*': {}, '-:.*gate$': {} } };
  for (const [dir, format, meant] of [
    ['fp8', 'compressed-tensors float-quantized by channel', /(proj|\.w[123])\.weight$/],
    ['gptq', 'GPTQ, an order of inputs', /(proj|\.w[123])\.weight$/],
    ['gptq-mix', 'GPTQ', /^(?!.*layers\.1\.).*(proj|\.w[123])\.weight$/],
    ['fp8-mix', 'compressed-tensors float-quantized by channel', /^(?!.*layers\.1\.).*(proj|\.w[123])\.weight$/],
    ['nvfp4', 'ModelOpt NVFP4', /(proj|\.w[123])\.weight$/],
    ['mlx', 'MLX of 4 bits', /(proj|\.w[123]|gate|lm_head|embed_tokens)\.weight$/],
  ] as const) {
    const f = formats.find((x) => x.name === format)!;
    const { stored } = quantised(f, all, (n) => meant.test(n));
    const key = 'quant_method' in f.config ? 'quantization_config' : 'quantization';
    write(dir, stored, { [key]: { ...f.config, ...(dir.endsWith('mix') ? left : { ignore: ['lm_head', 're:.*gate$'], modules_to_not_convert: ['gate','lm_head'] }) } });
  }
  const text = metadataOf(JSON.parse(readFileSync(`${src}/tokenizer.json`, 'utf8')));
  const meta = (metadata: object) => ({ ...metadata,
    'tokenizer.ggml.model': ['string', 'gpt2'], 'tokenizer.ggml.pre': ['string', 'gpt-2'],
    'tokenizer.ggml.tokens': ['string[]', text.get('tokenizer.ggml.tokens')],
    'tokenizer.ggml.token_type': ['i32[]', [...(text.get('tokenizer.ggml.token_type') as Int32Array)]],
    'tokenizer.ggml.merges': ['string[]', text.get('tokenizer.ggml.merges')],
    'tokenizer.ggml.eos_token_id': ['u32', 10] });
  const model = await storedModel(src);
  const q = ggufOf(model, 'Q8_0'); const p = ggufOf(model, 'F32');
  await writeGguf('/tmp/pubpack/q8.gguf', meta(q.metadata) as never, q.tensors as never);
  const mix = q.tensors.map((t: any, i: number) => /blk\.1\.ffn_.*exps/.test(t.name) ? p.tensors[i] : /ffn_down_exps/.test(t.name) && t.type === 'Q8_0' ? { ...p.tensors[i], type: 'Q4_0' } : t);
  await writeGguf('/tmp/pubpack/mix.gguf', meta(q.metadata) as never, mix as never);
  await writeGguf('/tmp/pubpack/notok.gguf', q.metadata as never, q.tensors as never);
});
