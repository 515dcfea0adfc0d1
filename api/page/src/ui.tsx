// The parts that rooms are made of.
import { signal } from "@preact/signals";
import type { ComponentChildren, ComponentProps } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Refused } from "./api";
import { brief, dollars, fully, moment, number, utc, words } from "./format";
import { href } from "./route";

type Children = { children?: ComponentChildren };

export const said = signal("");
let saidAt: ReturnType<typeof setTimeout>;

/** Say something for a moment, also to who cannot see it. */
export function say(text: string): void {
  said.value = text;
  clearTimeout(saidAt);
  saidAt = setTimeout(() => {
    said.value = "";
  }, 4000);
}

export function Toast() {
  return (
    <div class="toast" role="status" aria-live="polite" data-shown={said.value ? "" : undefined}>
      {said.value}
    </div>
  );
}

/** Read a text aloud once what it is about is something else: not whenever a counter or an age in it is. */
export function Announced({ of, text }: { of: string; text: string }) {
  const [announced, announce] = useState("");
  const before = useRef(of);
  useEffect(() => {
    if (before.current !== of) announce(text);
    before.current = of;
  }, [of]);
  return <p class="hidden" role="status">{announced}</p>;
}

export function Status({ of }: { of: string }) {
  return (
    <span class="status" data-status={of}>
      {words(of)}
    </span>
  );
}

export function Time({ at }: { at: string | null }) {
  if (!at) return <None />;
  return (
    <time dateTime={at} title={`${fully(at)} · ${utc(at)}`}>
      {moment(at)}
    </time>
  );
}

const MOMENT = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

/** A sentence of the API's, with its times in the reader's zone. */
export function Told({ text }: { text: string }) {
  return <>{text.split(MOMENT).map((part, index) => (index % 2 ? <Time key={index} at={part} /> : part))}</>;
}

/** Where there is nothing: a column needs a mark, a card does not. */
export function None() {
  return <span class="dim none">–</span>;
}

/** Credits with their dollars below or beside them: never the one without the other. */
export function Money({ credits, stacked }: { credits: number | null; stacked?: boolean }) {
  if (credits === null) return <span class="dim">not known</span>;
  return (
    <span class={stacked ? "money stacked" : "money"}>
      <span>{dollars(credits)}</span> <span class="dim">{number(credits)} cr</span>
    </span>
  );
}

/** Money as one of several figures. */
export function Sum({ name, credits, note, warn }: { name: string; credits: number | null; note?: ComponentChildren; warn?: boolean }) {
  return (
    <div data-warn={warn ? "" : undefined}>
      <dt>{name}</dt>
      <dd>{credits === null ? "–" : dollars(credits)}</dd>
      <dd class="dim">{credits !== null && <>{number(credits)} cr{note && " · "}</>}{note}</dd>
    </div>
  );
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    say("The browser did not let us copy; select and copy it by hand.");
  }
}

export function Copy({ text, what = "Text" }: { text: string; what?: string }) {
  return (
    <button type="button" class="copy" aria-label={`Copy ${what.toLowerCase()}`} title="Copy" onClick={() => copy(text, what)}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d="M5.5 5.5v-3h8v8h-3m-8-5h8v8h-8z" />
      </svg>
    </button>
  );
}

/** An id, whole to copy, and a link where it leads somewhere. */
export function Id({ id, room, whole }: { id: string; room?: string; whole?: boolean }) {
  const text = whole ? id : brief(id);
  return (
    <span class="id">
      {room ? (
        <a href={href(room, id)} title={id}>
          {text}
        </a>
      ) : (
        <span title={id}>{text}</span>
      )}
      <Copy text={id} what="Id" />
    </span>
  );
}

export function Code({ text, what = "Command", wrap }: { text: string; what?: string; wrap?: boolean }) {
  return (
    <div class="code">
      <pre class={wrap ? "wrap" : undefined} tabIndex={0} aria-label={what}>
        <code>{text}</code>
      </pre>
      <Copy text={text} what={what} />
    </div>
  );
}

/** A refusal in the problem's own words, with each field that is wrong. */
export function Failure({ of }: { of: unknown }) {
  if (!of) return null;
  const problem = of instanceof Refused ? of.problem : {};
  return (
    <div class="note bad" role="alert">
      <p>{told(of)}</p>
      {problem.errors && problem.errors.length > 0 && (
        <ul>
          {problem.errors.map((each) => (
            <li key={each.pointer}>
              <code>{each.pointer || "body"}</code> {each.message}
            </li>
          ))}
        </ul>
      )}
      {problem.code && (
        <p class="dim">
          <code>{problem.code}</code> · <code>{problem.request_id}</code>
        </p>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string } & Children) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

const TITLE = 80; // letters of a name that a tab or a history can show

/** What a room is about; its tab is called so, too, or by its name where that is more than text. */
export function Head({ title, name, children, lead }: { title: ComponentChildren; name?: string; lead?: ComponentChildren } & Children) {
  const called = name ?? (typeof title === "string" ? title : "");
  useEffect(() => {
    document.title = called ? `${called.slice(0, TITLE)} · Darkroom` : "Darkroom";
  }, [called]);
  return (
    <header class="head">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {lead && <p class="lead">{lead}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Section({ title, children, aside, id }: { title: string; id?: string; aside?: ComponentChildren } & Children) {
  return (
    <section class="section" aria-label={title} id={id}>
      <div class="bar">
        <h2>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** A table that scrolls within itself where the screen is narrow; or whose rows are cards there, or stacks of their cells. */
export function Table({ caption, head, children, cards, stack }: { caption: string; head: ComponentChildren[]; cards?: boolean; stack?: boolean } & Children) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`${caption}, as a table`}>
      <table class={cards ? "cards" : stack ? "stack" : undefined}>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {head.map((each, index) => (
              <th scope="col" key={index}>
                {each}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

type ButtonProps = { kind?: "main" | "danger" | "quiet"; does: () => unknown; disabled?: boolean } & Children &
  Omit<ComponentProps<"button">, "onClick">;

/** Do something once at a time: whoever asks again meanwhile, as by a double click, is not heard. Tells whether it goes on. */
export function useOnce(does: () => unknown, failed: (of: unknown) => void): [boolean, () => Promise<void>] {
  const [busy, setBusy] = useState(false);
  const going = useRef(false); // known before the button is drawn anew
  async function run() {
    if (going.current) return;
    going.current = true;
    setBusy(true);
    try {
      await does();
    } catch (refused) {
      failed(refused);
    } finally {
      going.current = false;
      setBusy(false);
    }
  }
  return [busy, run];
}

export const told = (failed: unknown): string => (failed instanceof Error ? failed.message : String(failed));

/** A button that is busy while what it does goes on, and shows why it failed. */
export function Button({ kind, does, children, disabled, ...rest }: ButtonProps) {
  const [busy, run] = useOnce(does, (failed) => say(told(failed)));
  return (
    <button type="button" {...rest} class={kind ?? ""} disabled={disabled || busy} aria-busy={busy} onClick={run}>
      {children}
    </button>
  );
}

/** Ask before what cannot be undone: the browser's own dialog, which keeps the focus and obeys Escape. */
export function Dialog({ title, open, close, children }: { title: string; open: boolean; close: () => void } & Children) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) ref.current?.showModal();
    else ref.current?.close();
  }, [open]);
  return (
    <dialog ref={ref} onClose={close} aria-labelledby="dialog-title">
      {open && (
        <>
          <h2 id="dialog-title">{title}</h2>
          {children}
        </>
      )}
    </dialog>
  );
}

/** How many answers a person waits for, who sees nothing in their place yet. */
export const loading = signal(0);

/** Whether a room has just been entered: what it shows comes together, so that nothing pushes anything else away. */
export const fresh = signal(true);
const TOGETHER = 700; // ms, after which each thing comes when it is there
const STILL = 3; // frames in which nothing is asked for: what is there may ask for more

/** Call back once nothing is asked for any more, or after a while; return how to give up waiting. */
export function together(there: () => void): () => void {
  const until = performance.now() + TOGETHER;
  let still = 0;
  let frame = requestAnimationFrame(look);
  function look() {
    still = loading.value ? 0 : still + 1;
    if (still < STILL && performance.now() < until) frame = requestAnimationFrame(look);
    else there();
  }
  return () => cancelAnimationFrame(frame);
}

/** Enter a room; return how to give up waiting for it. */
export function enter(): () => void {
  fresh.value = true;
  return together(() => { fresh.value = false; });
}

export interface Loaded<T> {
  value: T | undefined;
  failed: unknown;
  reload: () => Promise<void>;
  set: (value: T) => void;
}

/**
 * Load something, again whenever what it depends on changes; the answer before stays until the next is there.
 * Who reloads while it is loading gets the next answer, and takes nobody's away.
 */
export function useLoaded<T>(load: (signal: AbortSignal) => Promise<T>, depends: unknown[]): Loaded<T> {
  const [value, set] = useState<T>();
  const [failed, setFailed] = useState<unknown>();
  const latest = useRef(load);
  const flight = useRef<{ mine: AbortController; done: Promise<void> }>(undefined);
  const next = useRef<Promise<void>>(undefined);
  latest.current = load;
  async function fetchOnce(mine: AbortController, quiet: boolean): Promise<void> {
    if (!quiet) loading.value += 1;
    try {
      const found = await latest.current(mine.signal);
      if (mine.signal.aborted) return;
      set(() => found);
      setFailed(undefined);
    } catch (refused) {
      if (!mine.signal.aborted) setFailed(refused);
    } finally {
      if (flight.current?.mine === mine) flight.current = undefined;
      if (!quiet) loading.value -= 1;
    }
  }
  function begin(quiet = false): Promise<void> {
    const mine = new AbortController();
    const done = fetchOnce(mine, quiet);
    flight.current = { mine, done };
    return done;
  }
  const reload = useCallback(() => {
    const under = flight.current;
    if (!under) return begin(true);
    next.current ??= under.done.then(() => {
      next.current = undefined;
      return under.mine.signal.aborted ? undefined : begin(true);
    });
    return next.current;
  }, []);
  useEffect(() => {
    void begin();
    return () => flight.current?.mine.abort();
  }, depends);
  return { value, failed, reload, set: (next) => set(() => next) };
}
