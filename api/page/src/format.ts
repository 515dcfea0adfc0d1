// How things are written: times in the reader's zone, credits with their dollars, ids short enough to read.
import type { Job } from "./openapi";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const whole = new Intl.NumberFormat("en-US");
export const CREDITS_PER_USD = 2_000_000;
export const LEAST_USD = 0.0001; // as little as is written of a dollar

export const number = (of: number): string => whole.format(of).replace("-", "−");

export function dollars(credits: number): string {
  const sign = credits < 0 ? "−" : "";
  const usd = Math.abs(credits) / CREDITS_PER_USD;
  const digits = usd !== 0 && usd < 1 ? 4 : 2;
  return `${sign}$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** Write credits with their dollars, within a sentence. */
export const cost = (credits: number): string => `${dollars(credits)} (${number(credits)} credits)`;

/** Write a round sum of money, as an axis has it. */
export function level(credits: number): string {
  const usd = credits / CREDITS_PER_USD;
  return Number.isInteger(usd) ? `$${number(usd)}` : `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`;
}

export function moment(at: string): string {
  const then = new Date(at);
  return then.toDateString() === new Date().toDateString() ? clock.format(then) : short.format(then);
}

const oclock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** Write the hour of the day. */
export const hour = (at: string): string => oclock.format(new Date(at));

export const fully = (at: string): string => full.format(new Date(at));
export const utc = (at: string): string => `${at.slice(0, 19).replace("T", " ")} UTC`;

/** Write a request to the API as somebody types it into a terminal. */
export const curl = (path: string, rest: string): string =>
  `curl -s '${new URL(path, location.href.split("#")[0]).href}' \\\n  -H "Authorization: Bearer $DARKROOM_KEY" \\\n  ${rest}`;

/** Write a time span: `38.2 s`, `4 min 10 s`, `2 h 5 min`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return two(Math.round(seconds), 60, "min", "s");
  if (seconds < 48 * 3600) return two(Math.round(seconds / 60), 60, "h", "min");
  return `${Math.round(seconds / 86_400)} days`;
}

function two(of: number, each: number, big: string, small: string): string {
  const rest = of % each;
  return `${Math.floor(of / each)} ${big}${rest ? ` ${rest} ${small}` : ""}`;
}

/** What a job was asked to show. */
export function promptOf(job: Job): string {
  const prompt = job.input?.prompt;
  return typeof prompt === "string" ? prompt : job.erased_at ? "Erased" : "No prompt";
}

export const between = (from: string, to: string | null): number =>
  (to ? Date.parse(to) : Date.now()) - Date.parse(from);

export function bytes(of: number): string {
  if (of < 1000) return `${of} B`;
  if (of < 1_000_000) return `${(of / 1000).toFixed(0)} kB`;
  return `${(of / 1_000_000).toFixed(1)} MB`;
}

/** Shorten an id to what tells it from its neighbours: its end, for the beginning is the time. */
export const brief = (id: string): string => `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-6)}`;

export const words = (of: string): string => of.replaceAll("_", " ");
export const titled = (of: string): string => words(of).replace(/^./, (letter) => letter.toUpperCase()).replace("urls", "URLs");
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${number(count)} ${count === 1 ? one : many}`;
