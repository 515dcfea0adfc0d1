// One stream per page. A burst of changes is one reload, and never more than one in five seconds.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { look } from "./api";
import { events } from "./sse";

const PACE = 5_000;
const AGAIN = [1_000, 2_000, 4_000, 8_000, 15_000]; // ms until the next attempt

type Heard = (jobs: ReadonlySet<string> | null) => void;

/** Whether changes come in as they happen; null where nobody listens. */
export const live = signal<boolean | null>(null);
/** Since when none came in, once that is longer than a page may be behind at any time. */
export const lostSince = signal<string | null>(null);

let lateness: ReturnType<typeof setTimeout> | undefined;

function stand(now: boolean | null): void {
  if (live.value === now) return;
  live.value = now;
  clearTimeout(lateness);
  if (now !== false) lostSince.value = null;
  else {
    const since = new Date().toISOString();
    lateness = setTimeout(() => { lostSince.value = since; }, PACE);
  }
}

interface Listening {
  hears: (name: string, told: string) => void;
  again?: () => void; // it is heard again, and something may have gone untold
}

// Over HTTP/1.1 a browser opens six connections to a host, for all of its tabs: one that nobody sees takes none.
let seen = new AbortController();
const toBeSeen = (over: AbortSignal) => new Promise((done) => {
  document.addEventListener("visibilitychange", done, { once: true, signal: over });
  over.addEventListener("abort", done);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) seen.abort();
  else seen = new AbortController();
});

interface Reached {
  last: string; // the id of the event that came last
  lost: boolean;
  failures: number; // since it was heard
}

/** Hear a stream from where it was lost until it is lost again; returns false once there is no more of it. */
async function hearOut(path: string, at: Reached, { hears, again }: Listening, over: AbortSignal): Promise<boolean> {
  const stream = await events(path, at.last, over);
  if (typeof stream === "number") {
    if (stream === 401) void look().catch(() => undefined); // which tells why
    return false;
  }
  stand(true);
  if (at.lost) again?.();
  at.failures = 0;
  for await (const { id, name, data } of stream) {
    if (id) at.last = id;
    hears(name, data);
  }
  return true;
}

/** Listen to a stream while somebody sees it, until told to stop or until it ends: whenever it is lost, come again. */
function listen(path: string, listening: Listening): () => void {
  const over = new AbortController();
  const wait = (failures: number) => new Promise((done) => {
    const timer = setTimeout(done, (AGAIN[Math.min(failures, AGAIN.length - 1)] ?? 0) * (0.75 + Math.random() / 2));
    over.signal.addEventListener("abort", () => { clearTimeout(timer); done(null); });
  });
  async function hold(): Promise<void> {
    const at: Reached = { last: "", lost: false, failures: 0 };
    while (!over.signal.aborted) {
      const shown = seen.signal;
      if (document.hidden) {
        stand(null);
        await toBeSeen(over.signal);
      } else {
        // Whatever it was lost by: what the page shows meanwhile is said to be old.
        const goesOn = await hearOut(path, at, listening, AbortSignal.any([over.signal, shown])).catch(() => true);
        if (over.signal.aborted) return;
        if (!goesOn) return stand(null);
        if (!shown.aborted) {
          stand(false);
          await wait(at.failures);
          at.failures += 1;
        }
      }
      at.lost = true;
    }
  }
  void hold();
  return () => {
    over.abort();
    stand(null);
  };
}

const listeners = new Set<Heard>();
let stop: (() => void) | null = null;
let waiting: ReturnType<typeof setTimeout> | null = null;
let told = 0;
let changed: Set<string> | null = new Set();

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

const all = () => hear(null);

// A change may go untold: who comes back to the page sees it as it is now, and who stays, within a minute.
const LOOK_AGAIN = 60_000;
const lookAgain = () => {
  if (!document.hidden && stop) all();
};
document.addEventListener("visibilitychange", lookAgain);
document.addEventListener("resume", lookAgain); // after a sleep
setInterval(lookAgain, LOOK_AGAIN);

/** Call back after changes of the project's jobs: with their ids, or null when some were missed. */
export function useChanges(heard: Heard, active = true): void {
  useEffect(() => {
    if (!active) return;
    listeners.add(heard);
    stop ??= listen("v1/events", { hears: (name, text) => hear(name === "change" ? JSON.parse(text).job : null), again: all });
    return () => {
      listeners.delete(heard);
      if (listeners.size) return;
      stop?.();
      stop = null;
    };
  }, [heard, active]);
}

/** Follow one job or batch, by its own stream: it, as it is at each change, and as it is when heard again. */
export function follow(path: string, event: string, changes: (told: string) => void): () => void {
  return listen(path, { hears: (name, text) => { if (name === event) changes(text); } });
}

/** Look again every ten seconds while somebody may see it: for what no stream tells. */
export function usePolling(look: () => unknown, active = true): void {
  useEffect(() => {
    if (!active) return;
    const every = setInterval(() => {
      if (!document.hidden) look();
    }, 2 * PACE);
    return () => clearInterval(every);
  }, [look, active]);
}

/** Read again what belongs to something that changes: quietly, and at most every five seconds. */
export function useAgain(reload: () => unknown, version: number): void {
  const read = useRef({ version, at: Date.now() });
  useEffect(() => {
    if (read.current.version === version) return;
    const timer = setTimeout(() => {
      read.current = { version, at: Date.now() };
      void reload();
    }, Math.max(0, read.current.at + PACE - Date.now()));
    return () => clearTimeout(timer);
  }, [reload, version]);
}
