type Stop = () => void;

interface Watch {
  readonly stops: Set<Stop>;
  readonly listener: () => void;
}

/** One listener on each signal, however many calls it is given to: Node warns of more than ten. */
const watches = new WeakMap<AbortSignal, Watch>();

/** Calls `stop` once when the signal is aborted, until the function that it returns is called. */
export function onAbort(signal: AbortSignal, stop: Stop): () => void {
  const watch = watches.get(signal) ?? watched(signal);
  watch.stops.add(stop);
  return () => {
    if (!watch.stops.delete(stop) || watch.stops.size > 0) return;
    signal.removeEventListener('abort', watch.listener);
    watches.delete(signal);
  };
}

function watched(signal: AbortSignal): Watch {
  const stops = new Set<Stop>();
  const listener = () => {
    for (const stop of stops) stop();
  };
  const watch = { stops, listener };
  signal.addEventListener('abort', listener, { once: true });
  watches.set(signal, watch);
  return watch;
}
