// One batch: how far it has come, what it costs, what goes wrong, its rows, and its results as files.
import { useEffect, useState } from "preact/hooks";
import { ask, may, onceOnly, query } from "../../api";
import { Form } from "../../form";
import { CREDITS_PER_USD, LEAST_USD, number, plural, promptOf, span, words } from "../../format";
import { follow, useAgain, usePolling } from "../../live";
import type { Batch, BatchItems, TakenBatch } from "../../openapi";
import { go, href, place, refine } from "../../route";
import { Announced, Button, Dialog, Failure, Head, Id, Money, say, Section, Status, Sum, Table, Time, useLoaded } from "../../ui";
import { Thumbnail } from "../thumbnail";
import { Progress } from "./progress";
import { nameOf } from "./room";

const OVER = ["completed", "canceled"];
const STATUSES = ["queued", "running", "succeeded", "failed", "canceled", "expired"];
const CAUSES: Record<string, string> = {
  request: "It was paused; what is under way ends, and nothing else begins.",
  max_cost: "What is left costs more than it may: raise the most that it may cost, and resume.",
  failures: "So many rows failed that it paused by itself. Resuming allows as many again.",
};

export function BatchRoom({ id }: { id: string }) {
  const batch = useLoaded<Batch>((signal) => ask(`v1/batches/${id}`, { signal }), [id]);
  const of = batch.value;
  const over = of ? OVER.includes(of.status) : true;
  useEffect(() => {
    if (!of || over) return;
    return follow(`v1/batches/${id}/events`, "batch", (told) => batch.set(JSON.parse(told)));
  }, [id, over]);
  usePolling(batch.reload, over && Boolean(of?.credits.unknown)); // its stream has ended, and a charge is found out later
  const crumb = <p class="crumb"><a href={href("batches")}>Batches</a></p>;
  if (!of) return <>{crumb}<Head title="Batch" /><Failure of={batch.failed} /></>;
  return (
    <>
      {crumb}
      <Head title={<span dir="auto">{nameOf(of)}</span>} name={nameOf(of)} lead={<><Status of={of.status} /> <Id id={of.id} whole /> <Time at={of.created_at} /></>}>
        <Actions of={of} over={over} set={batch.set} />
      </Head>
      <Failure of={batch.failed} />
      <div class="story" data-status={of.status === "paused" ? "expired" : over ? (of.counts.failed + of.counts.expired ? "expired" : "succeeded") : "running"}>
        <p>{story(of, over)}</p>
        <Announced of={of.status} text={story(of, over)} />
      </div>
      <Progress of={of} />
      <Costs of={of} />
      {of.top_errors.length > 0 && <Errors of={of} />}
      <Results of={of} />
      <Rows of={of} />
    </>
  );
}

function story(of: Batch, over: boolean): string {
  const { counts, progress } = of;
  const lost = counts.failed + counts.expired;
  const made = `${plural(counts.succeeded, "picture")} of ${plural(of.total, "row")}`;
  if (of.status === "paused") return `${CAUSES[of.paused_for ?? "request"]} ${made} are there.`;
  if (of.status === "canceling") return `It is being canceled: no other row begins, and ${plural(of.cancel?.pending ?? 0, "call")} under way may still be charged.`;
  if (of.status === "canceled") return `It was canceled: ${number(of.cancel?.prevented ?? 0)} rows were never called for, ${number(of.cancel?.too_late ?? 0)} came too late. ${made} are kept.`;
  if (over) return lost ? `It has ended: ${made}, and ${number(lost)} without one. ${lost === 1 ? "It" : "They"} can be run again.` : `It has ended: every one of ${plural(of.total, "row")} has its picture.`;
  const ends = progress.eta ? ` At this pace it ends in ${span(Date.parse(progress.eta) - Date.now())}.` : "";
  return `${made} ${counts.succeeded === 1 ? "is" : "are"} there, ${number(progress.per_minute)} a minute.${ends}`;
}

function Costs({ of }: { of: Batch }) {
  const { credits } = of;
  return (
    <dl class="figures">
      <Sum name="Charged" credits={credits.charged} />
      <Sum name="Held" credits={credits.held} note={credits.held ? "for rows that have not ended" : ""} />
      <Sum name="Unknown" warn={credits.unknown > 0} credits={credits.unknown} note="of lost answers" />
      <Sum name="At most" credits={of.max_cost} note={of.max_cost === null ? "no limit was set" : ""} />
      <div><dt>Pace</dt><dd>{number(of.progress.per_minute)}</dd><dd class="dim">rows in the last minute</dd></div>
      {of.skipped > 0 && <div><dt>Left out</dt><dd>{number(of.skipped)}</dd><dd class="dim">rows that could not be used</dd></div>}
    </dl>
  );
}

function Errors({ of }: { of: Batch }) {
  return (
    <Section title="What went wrong">
      <Table caption="Errors" stack head={["Code", <span class="right">Rows</span>, "One of them"]}>
        {of.top_errors.map((each) => (
          <tr key={each.code}>
            <td><code>{each.code}</code></td>
            <td class="right" data-name="Rows">{number(each.count)}</td>
            <td class="wide">{each.message}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Results({ of }: { of: Batch }) {
  const file = (format: string) => `v1/batches/${of.id}/results?format=${format}`;
  return (
    <Section title="Results">
      <div class="line">
        <a class="button" href={file("csv")} download>CSV</a>
        <a class="button" href={file("ndjson")} download>NDJSON</a>
        <a class="button" href={file("zip")} download>Pictures, as ZIP</a>
        <span class="dim small">Every row in the order in which it came, {of.finished_at ? "whole" : "as far as it has come"}.</span>
      </div>
    </Section>
  );
}

function Rows({ of }: { of: Batch }) {
  const at = place.value.query;
  const asked = query({ status: at.status, limit: 25, cursor: at.row });
  const page = useLoaded<BatchItems>((signal) => ask(`v1/batches/${of.id}/items${asked}`, { signal }), [of.id, asked]);
  useAgain(page.reload, of.sequence);
  const found = page.value?.data ?? [];
  return (
    <Section title="Rows" aside={
      <div class="line">
        <a class="small" href={href("jobs", "", { batch: of.id })}>As jobs</a>
        <label><span class="hidden">Status of rows</span>
          <select value={at.status ?? ""} onChange={(event) => refine({ status: event.currentTarget.value, row: undefined })}>
            <option value="">Every row</option>{STATUSES.map((each) => <option key={each}>{each}</option>)}
          </select>
        </label>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">No row is like that.</p>}
      {found.length > 0 && (
        <Table caption="Rows" stack head={[<span class="hidden">Picture</span>, "Name", "Prompt", "Status", <span class="right">Cost</span>]}>
          {found.map((job) => (
            <tr key={job.id}>
              <td class="tight"><Thumbnail job={job} /></td>
              <td class="break">{job.custom_id}</td>
              <td class="wide"><a class="prompt" dir="auto" href={href("jobs", job.id)}>{promptOf(job)}</a></td>
              <td><Status of={job.status} /><div class="dim small">{job.error ? words(job.error.code) : job.waiting_reason ? words(job.waiting_reason) : ""}</div></td>
              <td class="right" data-name="Cost">{job.charged === "unknown" ? <span class="warn">unknown</span> : <Money credits={job.cost.charged} stacked />}</td>
            </tr>
          ))}
        </Table>
      )}
      {(at.row || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of rows">
          <button type="button" disabled={!at.row} onClick={() => refine({ row: undefined })}>First</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => refine({ row: page.value?.next_cursor ?? undefined })}>Further on</button>
        </nav>
      )}
    </Section>
  );
}

function Actions({ of, over, set }: { of: Batch; over: boolean; set: (batch: Batch) => void }) {
  const [canceling, setCanceling] = useState(false);
  const [changing, setChanging] = useState(false);
  if (!may("jobs:write")) return null;
  const steer = async (verb: string) => set(await ask<Batch>(`v1/batches/${of.id}/${verb}`, { body: {} }));
  async function again() {
    const made = await ask<TakenBatch>(`v1/batches/${of.id}/retry`, { body: {}, headers: onceOnly() });
    say(`${plural(made.total, "row")} run again, in a new batch.`);
    go(href("batches", made.id));
  }
  return (
    <>
      {of.status === "running" && <Button does={() => steer("pause")}>Pause</Button>}
      {of.status === "paused" && <Button kind="main" does={() => steer("resume")}>Resume</Button>}
      {!over && of.status !== "canceling" && <button type="button" onClick={() => setChanging(true)}>Change…</button>}
      {!over && of.status !== "canceling" && <button type="button" class="danger" onClick={() => setCanceling(true)}>Cancel…</button>}
      {over && of.counts.failed + of.counts.expired > 0 && <Button kind="main" does={again}>Run {plural(of.counts.failed + of.counts.expired, "row")} again</Button>}
      <Dialog title="Cancel this batch" open={canceling} close={() => setCanceling(false)}>
        <p>{plural(of.counts.queued, "row")} will not begin. {of.counts.running > 0 && `${plural(of.counts.running, "call is", "calls are")} under way: not aborted, and charged as ever.`} Pictures that are there stay.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setCanceling(false)}>Leave it</button>
          <Button kind="danger" does={async () => { await steer("cancel"); setCanceling(false); }}>Cancel the batch</Button>
        </div>
      </Dialog>
      <Dialog title="Change this batch" open={changing} close={() => setChanging(false)}>
        {changing && <Changing of={of} leave={() => setChanging(false)} done={(batch) => { set(batch); setChanging(false); }} />}
      </Dialog>
    </>
  );
}

function Changing({ of, leave, done }: { of: Batch; leave: () => void; done: (batch: Batch) => void }) {
  const [usd, setUsd] = useState(of.max_cost === null ? "" : String(of.max_cost / CREDITS_PER_USD));
  const [priority, setPriority] = useState<string>(of.priority ?? "bulk");
  async function change() {
    const most = usd ? { max_cost: Math.round(Number(usd) * CREDITS_PER_USD) } : of.max_cost === null ? {} : { max_cost: null };
    done(await ask<Batch>(`v1/batches/${of.id}`, { method: "PATCH", body: { ...most, ...(priority === (of.priority ?? "bulk") ? {} : { priority }) } }));
  }
  return (
    <Form verb="Change" does={change} leave={leave}>
      <label class="field"><span class="label">At most, in US dollars</span><input type="number" min={LEAST_USD} step="any" placeholder="no limit" value={usd} onInput={(event) => setUsd(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Priority</span><select value={priority} onChange={(event) => setPriority(event.currentTarget.value)}>{["interactive", "standard", "bulk"].map((each) => <option key={each}>{each}</option>)}</select></label>
    </Form>
  );
}
