export {
  CheckpointError,
  ClosedError,
  ConfigError,
  DeviceError,
  GroupError,
  MoEError,
  type MoEErrorCode,
  ShapeError,
} from './base/errors.js';
export {
  type AvailableDevices,
  type BackendName,
  type Device,
  type DeviceInfo,
  type DeviceName,
  devices,
  type HeldWeights,
  type UnavailableDevices,
} from './binding/devices.js';
export type { KvType } from './binding/model.js';
export { MoECheckpoint, type OpenOptions } from './checkpoint/checkpoint.js';
export type { LayerWords } from './checkpoint/words.js';
export {
  type AuxLossType,
  type LayerPlace,
  MoEConfig,
  type MoEConfigFields,
  type MoEConfigOptions,
  type RoutingPolicy,
  type ScoreFunction,
  type TopkMethod,
} from './config/config.js';
export {
  ExpertGroup,
  type GroupLayer,
  type GroupOptions,
  type LinkCost,
  type Transport,
} from './group/group.js';
export {
  type ExpertPlacement,
  type PlacementOptions,
  type PlacementPlan,
  planPlacement,
} from './group/placement.js';
export type { Activation, ActivationClamp, ExpertOptions } from './layer/experts.js';
export type {
  ForwardOptions,
  ForwardResult,
  RoutedForwardOptions,
  RoutedForwardResult,
  RouteOptions,
  Routing,
} from './layer/forward.js';
export { MoELayer } from './layer/layer.js';
export type {
  ActivationType,
  LayerOptions,
  LoadOptions,
  WeightFormat,
  WeightGroup,
  WeightType,
} from './layer/options.js';
export type { DType, LayerWeights, SharedWeights, Tensor } from './layer/weights.js';
export { MoEModel } from './model/model.js';
export type { HeldModelOptions, ModelLoadOptions } from './model/options.js';
export type {
  CalledFunction,
  Chat,
  ChatMessage,
  ChatPart,
  Completion,
  FinishReason,
  GenerateOptions,
  LikelyToken,
  ModelLoad,
  Piece,
  ScoreOptions,
  TextModel,
  TextTokenizer,
  TokenLogprob,
  Tool,
  ToolCall,
  ToolCallPiece,
  ToolFunction,
  Usage,
} from './model/types.js';
