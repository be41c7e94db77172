// What it takes to start a peer.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The peers and the types of weights they can hold. */
export const peerTypes = {
  'onnxruntime-node': ['f32', 'q8', 'q4'],
  ggml: ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_K', 'q6_K', 'iq4_xs', 'mxfp4'],
  torch: ['f32', 'f16', 'bf16'],
};

/** The folder with the peers' programs and their own package.json. */
const folder = fileURLToPath(new URL('../peers/', import.meta.url));

const execute = promisify(execFile);

/**
 * Makes a peer ready to start, installing its npm package into bench/peers and compiling its program where that has
 * not been done. Throws an error that says what to do when it cannot.
 *
 * @returns how to start it: the shape, the type and the threads follow as arguments
 */
export function preparePeer(name) {
  return preparations[name]();
}

const preparations = {
  'onnxruntime-node': prepareOnnxruntime,
  ggml: prepareGgml,
  torch: prepareTorch,
  'node-llama-cpp': prepareLlama,
};

/** The PyTorch of `python3`: on the GPU where it sees one. Nothing is installed. */
async function prepareTorch() {
  try {
    const { stdout } = await execute('python3', ['-c', 'import torch; print(torch.__version__)']);
    return {
      command: 'python3',
      arguments: [`${folder}torch_moe.py`, 'serve'],
      environment: {},
      version: stdout.trim(),
    };
  } catch (cause) {
    throw new Error(
      'Expected python3 to import torch for the peer torch: install it, or leave it out',
      {
        cause,
      },
    );
  }
}

async function prepareOnnxruntime() {
  const version = await installed('onnxruntime-node');
  await installed('onnx-proto');
  return {
    command: process.execPath,
    arguments: [`${folder}onnxruntime_moe.mjs`],
    environment: {},
    version,
  };
}

/** llama.cpp, installed where it is not there yet: its version and the folder of its libraries. */
export async function llamaLibraries() {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== 'linux-x64' && platform !== 'linux-arm64')
    throw new Error(
      `Expected linux-x64 or linux-arm64 for ggml, got ${platform}: leave it out, --peers onnxruntime-node:f32`,
    );
  const version = await installed(`@node-llama-cpp/${platform}`);
  const libraries = `${folder}node_modules/@node-llama-cpp/${platform}/bins/${platform}`;
  return { version, libraries };
}

async function prepareLlama() {
  await llamaLibraries();
  return {
    command: process.execPath,
    arguments: [`${folder}llama_model.mjs`],
    environment: {},
    version: await installed('node-llama-cpp'),
  };
}

async function prepareGgml() {
  return ggmlProgram('ggml_moe');
}

/** A program of bench/peers that calls ggml, compiled where it is not there yet: how to start it, but for its own arguments. */
export async function ggmlProgram(name) {
  const { version, libraries } = await llamaLibraries();
  const sources = [`${folder}${name}.cpp`, `${folder}ggml.h`];
  const program = `${folder}node_modules/.bin/${name}`;
  const changed = (source) => statSync(program).mtimeMs < statSync(source).mtimeMs;
  if (!existsSync(program) || sources.some(changed))
    await step(`compile ${name}.cpp`, process.env['CXX'] ?? 'g++', [
      ...['-O2', '-std=c++20', '-o', program],
      ...[sources[0], '-ldl'],
    ]);
  return {
    command: program,
    arguments: [libraries],
    environment: { LD_LIBRARY_PATH: libraries },
    version,
  };
}

/** The version of a package in bench/peers, all of them installed when this one is not there. */
async function installed(packageName) {
  const manifest = `${folder}node_modules/${packageName}/package.json`;
  if (!existsSync(manifest)) {
    process.stderr.write(`bench: installing the peers into ${folder} (about 370 MB)\n`);
    // Install scripts would download GPU libraries; the CPU binaries are in the packages.
    await step('install the peers', 'npm', [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--no-package-lock',
    ]);
  }
  return JSON.parse(readFileSync(manifest, 'utf8')).version;
}

async function step(what, command, args) {
  try {
    await execute(command, args, {
      cwd: folder,
      shell: process.platform === 'win32',
      maxBuffer: 2 ** 26,
    });
  } catch (cause) {
    const { stderr = '', message } = cause;
    const reason = stderr.split('\n').find((line) => /error/i.test(line)) ?? message;
    throw new Error(
      `Expected \`${command} ${args.join(' ')}\` in ${folder} to ${what}, got: ${reason.trim()}`,
      { cause },
    );
  }
}
