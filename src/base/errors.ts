/**
 * Every error code, in the order of `ErrorCode` in native/core/error.h: native errors carry the position.
 * The code is the contract; the message is for people.
 */
export const errorCodes = [
  'ERR_MOE_CONFIG',
  'ERR_MOE_SHAPE',
  'ERR_MOE_CHECKPOINT',
  'ERR_MOE_DEVICE_UNAVAILABLE',
  'ERR_MOE_OUT_OF_MEMORY',
  'ERR_MOE_DEVICE',
  'ERR_MOE_DEVICE_LOST',
  'ERR_MOE_QUEUE_FULL',
  'ERR_MOE_PEER_LOST',
  'ERR_MOE_TIMEOUT',
  'ERR_MOE_ABORTED',
  'ERR_MOE_CLOSED',
  'ERR_MOE_INTERNAL',
] as const;

/** What went wrong, for programs: stable across releases. */
export type MoEErrorCode = (typeof errorCodes)[number];

/** Base of every error this package throws. `code` is stable across releases. */
export class MoEError extends Error {
  /** What went wrong, for programs. */
  readonly code: MoEErrorCode;

  constructor(code: MoEErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** An option cannot describe a layer. The message names the field, what was expected and what came. */
export class ConfigError extends MoEError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_MOE_CONFIG', message, options);
  }
}

/** An array does not have the length, shape or type the layer needs. */
export class ShapeError extends MoEError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_MOE_SHAPE', message, options);
  }
}

/** A checkpoint file is damaged, incomplete or of an unknown kind. The message names the file and the tensor. */
export class CheckpointError extends MoEError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_MOE_CHECKPOINT', message, options);
  }
}

/**
 * A device is missing, out of memory, too busy (`ERR_MOE_QUEUE_FULL`), failed, or failed for good: after
 * `ERR_MOE_DEVICE_LOST` only a new process can use it again.
 */
export class DeviceError extends MoEError {}

/**
 * A rank of an expert-parallel group is gone (`ERR_MOE_PEER_LOST`) or did not answer in time (`ERR_MOE_TIMEOUT`). The group
 * is of no use any more: close its layers and join a new one.
 */
export class GroupError extends MoEError {}

/** The layer or checkpoint was closed before the call. Nothing was run. */
export class ClosedError extends MoEError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_MOE_CLOSED', message, options);
  }
}

const classes: Partial<
  Record<MoEErrorCode, new (message: string, options?: ErrorOptions) => MoEError>
> = {
  ERR_MOE_CONFIG: ConfigError,
  ERR_MOE_SHAPE: ShapeError,
  ERR_MOE_CHECKPOINT: CheckpointError,
  ERR_MOE_CLOSED: ClosedError,
};
const deviceCodes: readonly MoEErrorCode[] = [
  'ERR_MOE_DEVICE_UNAVAILABLE',
  'ERR_MOE_OUT_OF_MEMORY',
  'ERR_MOE_DEVICE',
  'ERR_MOE_DEVICE_LOST',
  'ERR_MOE_QUEUE_FULL',
];
const groupCodes: readonly MoEErrorCode[] = ['ERR_MOE_PEER_LOST', 'ERR_MOE_TIMEOUT'];

/** The error of the class that a native error's code stands for, with a stack from here; others as they are. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = errorCodes.find((known) => known === (error as { code?: unknown }).code);
  if (code === undefined || error instanceof MoEError) return error;
  const Class = classes[code];
  if (Class !== undefined) return new Class(error.message, { cause: error });
  if (deviceCodes.includes(code)) return new DeviceError(code, error.message, { cause: error });
  if (groupCodes.includes(code)) return new GroupError(code, error.message, { cause: error });
  return new MoEError(code, error.message, { cause: error });
}
