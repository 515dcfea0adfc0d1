// One stream per page. A burst of changes is one reload, and never more than one in five seconds.
import { effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { session } from "./api";

const PACE = 5_000;
type Heard = (jobs: ReadonlySet<string> | null) => void;

const listeners = new Set<Heard>();
let source: EventSource | null = null;
let waiting: ReturnType<typeof setTimeout> | null = null;
let told = 0;
let changed: Set<string> | null = new Set();

/** Whether changes come in as they happen. */
export const live = signal(false);

function tell(): void {
  waiting = null;
  told = Date.now();
  const jobs = changed;
  changed = new Set();
  for (const each of listeners) each(jobs);
}

function hear(job: string | null): void {
  if (job === null) changed = null;
  else changed?.add(job);
  waiting ??= setTimeout(tell, Math.max(250, told + PACE - Date.now()));
}

function open(): void {
  source = new EventSource("v1/events");
  source.onopen = () => {
    if (!live.value) hear(null);
    live.value = true;
  };
  source.onerror = () => {
    live.value = false;
  };
  source.addEventListener("change", (event) => hear(JSON.parse(event.data).job));
  source.addEventListener("skipped", () => hear(null));
}

function close(): void {
  source?.close();
  source = null;
  live.value = false;
}

effect(() => {
  if (!session.value) close();
});

// A change may go untold: who comes back to the page sees it as it is now, and who stays, within a minute.
const LOOK_AGAIN = 60_000;
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && source) hear(null);
});
setInterval(() => {
  if (!document.hidden && source) hear(null);
}, LOOK_AGAIN);

/** Call back after changes of the project's jobs: with their ids, or null when some were missed. */
export function useChanges(heard: Heard, active = true): void {
  useEffect(() => {
    if (!active) return;
    listeners.add(heard);
    if (!source) open();
    return () => {
      listeners.delete(heard);
      if (!listeners.size) close();
    };
  }, [heard, active]);
}

/** Follow one job or batch, by its own stream: it, as it is at each change. */
export function follow(path: string, event: string, changes: (told: string) => void): () => void {
  close();
  const stream = new EventSource(path);
  stream.onopen = () => {
    live.value = true;
  };
  stream.onerror = () => {
    live.value = false;
    if (stream.readyState === EventSource.CLOSED) live.value = false;
  };
  stream.addEventListener(event, (told) => changes((told as MessageEvent<string>).data));
  return () => {
    stream.close();
    live.value = false;
  };
}

/** Look again every ten seconds while somebody may see it: for what no stream tells. */
export function usePolling(look: () => unknown): void {
  useEffect(() => {
    const every = setInterval(() => {
      if (!document.hidden) look();
    }, 2 * PACE);
    return () => clearInterval(every);
  }, [look]);
}
