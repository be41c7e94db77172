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
export {
  type Activation,
  type ActivationType,
  type ForwardOptions,
  type ForwardResult,
  type LayerOptions,
  type LoadOptions,
  MoELayer,
  type RoutedForwardOptions,
  type RoutedForwardResult,
  type RouteOptions,
  type Routing,
  type WeightGroup,
  type WeightType,
} from './layer/layer.js';
export type { DType, LayerWeights, SharedWeights, Tensor } from './layer/weights.js';
