// The public API, as a browser's session asks it: relative to where the page is, with the CSRF token on writes.
import { signal } from "@preact/signals";
import type { Problem } from "./openapi";

export interface Session {
  project: { id: string | null; name: string }; // an operator has none
  key: { id: string; name: string };
  scopes: string[];
  csrf_token: string;
  expires_at: string;
}

/** Who is signed in; null is nobody, undefined not known yet. */
export const session = signal<Session | null | undefined>(undefined);

/** Why nobody is signed in any more, where nobody asked for it. */
export const ended = signal("");

/** End the session here: it has ended at the server. */
export function end(why: string): void {
  if (session.value) ended.value = why;
  session.value = null;
}

/** A refusal: the problem's own words. */
export class Refused extends Error {
  problem: Partial<Problem>;
  constructor(
    public status: number,
    problem: Partial<Problem>,
  ) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
    this.problem = problem;
  }
}

interface Asked {
  method?: string;
  body?: unknown;
  file?: Blob | FormData; // sent as it is, in place of a body
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

const PATIENCE = 60_000; // ms; the slowest answer, to a test of an endpoint, takes half of it
const PATIENCE_WITH_FILES = 600_000;

/** Read an answer and its body to the end, or raise `Refused`: also when nobody answers, or not in time. */
async function fetched(path: string, asked: Asked, sent: RequestInit): Promise<[Response, string]> {
  const late = new AbortController();
  const patience = asked.file ? PATIENCE_WITH_FILES : PATIENCE;
  const timer = setTimeout(() => late.abort(), patience);
  const signal = asked.signal ? AbortSignal.any([asked.signal, late.signal]) : late.signal;
  try {
    const answer = await fetch(path, { ...sent, signal });
    return [answer, await answer.text()];
  } catch (failed) {
    if (asked.signal?.aborted) throw failed;
    const advice = sent.method === "GET" ? "Try again." : "It may have been done: look before you try again.";
    const detail = late.signal.aborted
      ? `The server has not answered within ${patience / 1000} seconds. ${advice}`
      : "The server does not answer. Is it running, and are you online?";
    throw new Refused(0, { detail });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Tell whether a write that was refused for its CSRF token may be sent again, for it did nothing: the session's token
 * is new, by another tab's renewal. Where another tab has signed in as somebody else, the page begins anew.
 */
async function stillMine(): Promise<boolean> {
  const before = session.value?.csrf_token;
  await look();
  return session.value !== null && session.value?.csrf_token !== before;
}

/** Ask the API. Raises `Refused`, also when nobody answers. */
export async function ask<T>(path: string, asked: Asked = {}): Promise<T> {
  const headers: Record<string, string> = { ...asked.headers };
  const method = asked.method ?? (asked.body === undefined && !asked.file ? "GET" : "POST");
  if (asked.body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && session.value) headers["x-csrf-token"] = session.value.csrf_token;
  const body = asked.file ?? (asked.body === undefined ? null : JSON.stringify(asked.body));
  const [answer, text] = await fetched(path, asked, { method, headers, body });
  if (answer.status === 204) return undefined as T;
  const isJson = answer.headers.get("content-type")?.includes("json");
  const told: unknown = isJson && text ? JSON.parse(text) : text;
  if (answer.ok) return told as T;
  const refused = new Refused(answer.status, isJson ? (told as Problem) : {});
  if (answer.status === 401 && path !== "session") end(refused.message); // a link that is no good ends nobody's session
  if (refused.problem.code === "csrf_missing" && (await stillMine())) return ask(path, asked);
  throw refused;
}

/** Make a name that no other request has: what is asked twice with it is done once. */
export function onceOnly(): Record<string, string> {
  const letters = crypto.getRandomValues(new Uint8Array(16));
  return { "idempotency-key": Array.from(letters, (each) => each.toString(16).padStart(2, "0")).join("") };
}

/** Write a query, without what is empty. */
export function query(of: Record<string, string | number | undefined | null>): string {
  const kept = Object.entries(of).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const written = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return written && `?${written}`;
}

export function may(scope: string): boolean {
  const scopes = session.value?.scopes ?? [];
  return scopes.includes(scope) || (scope !== "operator" && scopes.includes("admin"));
}

/** Ask who is signed in by now. What is shown is another project's once it is somebody else: then the page begins anew. */
export async function look(): Promise<void> {
  const told = await ask<Session & { signed_in: boolean }>("session");
  const before = session.value;
  if (!told.signed_in) return end("The session has ended; sign in again.");
  if (before && before.key.id !== told.key.id) location.reload();
  else session.value = told;
}
