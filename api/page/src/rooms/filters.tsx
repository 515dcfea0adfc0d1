// What narrows the list of jobs: words, and one choice or name for each thing that a job has.
import { useEffect, useMemo, useState } from "preact/hooks";
import { words } from "../format";
import type { Now } from "../openapi";
import { pick, place, refine } from "../route";

type WaitingReason = Now["waiting"]["reasons"][number]["reason"];

const STATUSES = ["queued", "running", "succeeded", "failed", "canceled", "expired"];
// Each reason once: one that the API adds is a type error here.
const WAITS: Record<WaitingReason, 1> = {
  queue: 1, backoff: 1, fair_share: 1, provider_limit: 1, project_cap: 1, concurrency_key: 1, provider_down: 1, wallet_empty: 1,
  provider_key: 1, unknown_charge: 1, budget: 1, following: 1, storage: 1, image_download: 1, paused: 1, batch: 1,
};
const REASONS = Object.keys(WAITS);
const CHARGES = ["none", "unknown", "settled", "released"];
const FILTERS = ["search", "status", "charge_state", "waiting_reason", "tag", "customer", "model", "batch"] as const;
const SINCE: Record<string, number> = { "1 hour": 3.6e6, "24 hours": 8.64e7, "7 days": 6.048e8, "30 days": 2.592e9 };

/** Return the present filter, as the API takes it. What "within an hour" means is settled when it is chosen. */
export function useFilter(): Record<string, string> {
  const at = place.value.query;
  const within = pick(SINCE, at.since);
  const since = useMemo(() => within && new Date(Math.floor((Date.now() - within) / 6e4) * 6e4).toISOString(), [within]);
  const named = Object.fromEntries(FILTERS.flatMap((each) => (at[each] ? [[each, at[each]]] : [])));
  return since ? { ...named, created_after: since } : named;
}

export function Filters() {
  const at = place.value.query;
  const [text, setText] = useState(at.search ?? "");
  useEffect(() => setText(at.search ?? ""), [at.search]);
  const search = (words: string) => refine({ search: words.trim(), cursor: undefined });
  const more = ["charge_state", "waiting_reason", "tag", "customer", "batch", "since"].some((each) => at[each]);
  return (
    <form
      class="filters"
      role="search"
      aria-label="Jobs"
      onSubmit={(event) => {
        event.preventDefault();
        search(text);
      }}
    >
      {/* What stands in the box is in effect once it is left or emptied, whoever does not press Enter. */}
      <label class="grow">
        <span class="hidden">Search</span>
        <input type="search" placeholder="Any id, order, customer, tag, or words of a prompt" value={text} onChange={(event) => search(event.currentTarget.value)}
          onInput={({ currentTarget: box }) => { setText(box.value); if (!box.value) search(""); }} />
      </label>
      <Choice name="status" all="Every status" of={STATUSES} />
      <details class="more" open={more}>
        <summary>More filters</summary>
        <div class="fields">
          <Choice name="since" all="Any time" of={Object.keys(SINCE)} label="Created within" />
          <Choice name="charge_state" all="Any charge" of={CHARGES} label="Charge of a call" />
          <Choice name="waiting_reason" all="Any reason" of={REASONS} label="Waits for" />
          <Typed name="customer" label="Customer" />
          <Typed name="tag" label="Tag" />
          <Typed name="batch" label="Batch" />
        </div>
      </details>
      <button type="submit" class="hidden">Search</button>
    </form>
  );
}

function Choice({ name, all, of, label }: { name: string; all: string; of: string[]; label?: string }) {
  return (
    <label>
      <span class={label ? "" : "hidden"}>{label ?? name}</span>
      <select value={place.value.query[name] ?? ""} onChange={(event) => refine({ [name]: event.currentTarget.value, cursor: undefined })}>
        <option value="">{all}</option>
        {of.map((each) => (
          <option key={each} value={each}>{words(each)}</option>
        ))}
      </select>
    </label>
  );
}

function Typed({ name, label }: { name: string; label: string }) {
  return (
    <label>
      <span>{label}</span>
      <input value={place.value.query[name] ?? ""} onChange={(event) => refine({ [name]: event.currentTarget.value.trim(), cursor: undefined })} />
    </label>
  );
}
