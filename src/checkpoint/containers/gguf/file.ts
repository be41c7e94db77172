import { CheckpointError } from '../../../base/errors.js';
import { readAt, withFile } from '../disk.js';
import { type GgufHeader, type GgufValue, HeaderCut, parseGguf } from './reader.js';

/** What is read of a file at first: more than most headers take, with vocabularies of 150,000 tokens. */
const firstBytes = 8 << 20;
/** A header of more is refused. */
const mostBytes = 1 << 30;

/** One GGUF file. Opening it reads and checks the header. */
export class GgufFile {
  readonly path: string;
  /** Which file it is, to tell whether it is still the one whose header was checked. */
  readonly identity: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: GgufHeader['tensors'];
  readonly dataStart: number;

  private constructor(path: string, identity: string, header: GgufHeader) {
    this.path = path;
    this.identity = identity;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
    this.dataStart = header.dataStart;
  }

  /** @throws `CheckpointError` when the file is missing, unreadable, damaged or not a GGUF file */
  static open(path: string): Promise<GgufFile> {
    return withFile(path, async (handle, { byteLength, identity }) => {
      for (let wanted = firstBytes; ; wanted *= 4) {
        const length = Math.min(byteLength, wanted);
        const bytes = await readAt(handle, path, 0, length);
        try {
          return new GgufFile(path, identity, parseGguf(path, bytes, byteLength));
        } catch (error) {
          if (!(error instanceof HeaderCut)) throw error;
          if (wanted >= mostBytes)
            throw new CheckpointError(
              `Expected the header of ${path} to have at most ${mostBytes} bytes, got more`,
            );
        }
      }
    });
  }
}
