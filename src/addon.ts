import { noAddon } from './addon_failure.js';
import { addonPlace, loadNative, type NativeBinding } from './native.js';

/** The addon. Throws `DeviceError` (`ERR_MOE_DEVICE_UNAVAILABLE`) where there is none that loads: no device works then. */
export function addon(): NativeBinding {
  try {
    return loadNative();
  } catch (error) {
    throw noAddon(error as NodeJS.ErrnoException, addonPlace());
  }
}
