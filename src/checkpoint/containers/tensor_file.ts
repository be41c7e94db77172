import { CheckpointError } from '../../base/errors.js';
import type { TensorEntry } from './header.js';

/** A file with tensors, of any container: what its header says. */
export interface TensorFile {
  readonly path: string;
  /** Which file it is, to tell whether it is still the one whose header was checked. */
  readonly identity: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What the header says about a tensor. Throws `CheckpointError` when there is none of that name. */
  entry(name: string): TensorEntry;
  /** Throws `CheckpointError` when a file of this identity is not the one whose header was checked. */
  expectSame(identity: string): void;
}

/** As `TensorFile.expectSame`. */
export function expectSameFile(
  file: Pick<TensorFile, 'path' | 'identity'>,
  identity: string,
): void {
  if (identity !== file.identity)
    throw new CheckpointError(
      `Expected ${file.path} to be as it was when it was opened, got another file or other contents: open it again`,
    );
}
