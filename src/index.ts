export { MoECheckpoint } from './checkpoint.js';
export {
  type AuxLossType,
  MoEConfig,
  type MoEConfigFields,
  type MoEConfigOptions,
  type RoutingPolicy,
  type TopkMethod,
} from './config.js';
export {
  type AvailableDevices,
  type BackendName,
  type Device,
  type DeviceInfo,
  type DeviceName,
  devices,
  type UnavailableDevices,
} from './devices.js';
export {
  CheckpointError,
  ClosedError,
  ConfigError,
  DeviceError,
  GroupError,
  MoEError,
  type MoEErrorCode,
  ShapeError,
} from './errors.js';
export {
  ExpertGroup,
  type GroupOptions,
  type LinkCost,
  type Transport,
} from './group.js';
export {
  type Activation,
  type ActivationType,
  type ExpertPlacement,
  type ForwardOptions,
  type ForwardResult,
  type LayerOptions,
  type LoadOptions,
  MoELayer,
  type RoutedForwardOptions,
  type RoutedForwardResult,
  type Routing,
  type WeightGroup,
  type WeightType,
} from './layer.js';
export { type PlacementOptions, type PlacementPlan, planPlacement } from './placement.js';
export type { DType, LayerWeights, SharedWeights, Tensor } from './weights.js';
