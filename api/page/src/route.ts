// Where a person is: behind the #, so that every state has a link, the back button works, and the page
// works under any prefix. `#/jobs?status=failed` is the room `jobs` with a query.
import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const place = computed(() => {
  const [path = "", search = ""] = hash.value.replace(/^#\/?/, "").split("?");
  const [room = "", id = ""] = path.split("/").map(decodeURIComponent);
  return { room, id, query: Object.fromEntries(new URLSearchParams(search)) as Record<string, string> };
});

export function href(room: string, id = "", of: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(of).filter((each): each is [string, string] => Boolean(each[1]));
  const search = new URLSearchParams(kept).toString();
  return `#/${room}${id && `/${encodeURIComponent(id)}`}${search && `?${search}`}`;
}

export function go(where: string): void {
  location.hash = where;
}

/** Be elsewhere without a step in the history. */
export function replace(where: string): void {
  history.replaceState(null, "", where);
  hash.value = where;
}

/** Change the query of the present room; what is empty goes. `stay` leaves no step in the history. */
export function refine(of: Record<string, string | undefined>, stay = false): void {
  const { room, id, query } = place.value;
  const where = href(room, id, { ...query, ...of });
  if (!stay) return go(where);
  replace(where);
}
