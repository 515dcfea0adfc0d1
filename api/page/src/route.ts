// Where a person is: behind the #, so that every state has a link, the back button works, and the page
// works under any prefix. `#/jobs?status=failed` is the room `jobs` with a query.
import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);

// Each entry of the history has a number, by which it is known how far down somebody was there.
history.scrollRestoration = "manual"; // a browser scrolls before what it scrolls to has been read
const numberOf = (state: unknown) => (state as { entry?: number } | null)?.entry;
const depths = new Map<number, number>();
let entry = numberOf(history.state) ?? 0;
const first = entry; // of those that this page has made
let newest = entry;
history.replaceState({ entry }, "");

interface Arrived {
  entry: number;
  depth: number | undefined; // how far down somebody was there before
  first: boolean; // what lies before it may be another page
}

/** The present entry of the history. */
export const arrived = signal<Arrived>({ entry, depth: undefined, first: true });

/** Be where the address is. */
function arrive(): void {
  const known = numberOf(history.state);
  if (known !== entry) {
    depths.set(entry, scrollY);
    entry = known ?? ++newest;
    if (known === undefined) history.replaceState({ entry }, "");
    arrived.value = { entry, depth: depths.get(entry), first: entry <= first };
  }
  hash.value = location.hash;
}
addEventListener("hashchange", arrive);

const ID = /^[a-z]+_[0-9a-hjkmnp-tv-z]{26}$/; // as models/ids.py writes them
export const isId = (text: string): boolean => ID.test(text);

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // it was not written by us, and leads nowhere
  }
}

/** An id becomes part of a request's path: what has not the form of one leads nowhere. */
export const place = computed(() => {
  const [path = "", search = ""] = hash.value.replace(/^#\/?/, "").split("?");
  const [room = "", id = ""] = path.split("/").map(decoded);
  const query = Object.fromEntries(new URLSearchParams(search)) as Record<string, string>;
  const leads = !id || isId(id) || room === "sign-in"; // behind `sign-in` stands a token
  return leads ? { room, id, query } : { room: path, id: "", query };
});

/** Look a word of the address up: whoever writes addresses may write any. */
export const pick = <T>(table: Record<string, T>, word: string | undefined): T | undefined =>
  word !== undefined && Object.hasOwn(table, word) ? table[word] : undefined;

export function href(room: string, id = "", of: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(of).filter((each): each is [string, string] => Boolean(each[1]));
  const search = new URLSearchParams(kept).toString();
  return `#/${room}${id && `/${encodeURIComponent(id)}`}${search && `?${search}`}`;
}

/** Go elsewhere, and be there at once: what is changed next is changed there. */
export function go(where: string): void {
  location.hash = where;
  arrive();
}

/** Be elsewhere without a step in the history. */
export function replace(where: string): void {
  history.replaceState(history.state, "", where);
  hash.value = where;
}

/** Change the query of the present room; what is empty goes. `stay` leaves no step in the history. */
export function refine(of: Record<string, string | undefined>, stay = false): void {
  const { room, id, query } = place.value;
  const where = href(room, id, { ...query, ...of });
  if (!stay) return go(where);
  replace(where);
}
