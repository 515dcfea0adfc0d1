// One job: its picture beside its references, what happened in words, every call, every cost, every delivery.
import { useEffect, useState } from "preact/hooks";
import { ask, may, onceOnly } from "../api";
import { bytes, cost, plural, promptOf, words } from "../format";
import { follow, usePolling } from "../live";
import type { Explanation, Job } from "../openapi";
import { go, href } from "../route";
import { Button, Code, Copy, Dialog, Failure, Head, Id, Money, say, Section, Status, Time, Told, useLoaded } from "../ui";
import { Deliveries } from "./deliveries";
import { References } from "./references";
import { story } from "./story";
import { Timeline } from "./timeline";

const TERMINAL = ["succeeded", "failed", "canceled", "expired"];
const EXPLAINED_EVERY = 10_000;

export function JobRoom({ id }: { id: string }) {
  const job = useLoaded<Job>((signal) => ask(`v1/jobs/${id}`, { signal }), [id]);
  const shown = job.value;
  const over = shown ? TERMINAL.includes(shown.status) : true;
  useEffect(() => {
    if (!shown || over) return;
    return follow(`v1/jobs/${id}/events`, "job", (told) => job.set(JSON.parse(told)));
  }, [id, over]);
  usePolling(job.reload, over && shown?.charged === "unknown"); // its stream has ended, and a charge is found out later
  const crumb = <p class="crumb"><a href={href("jobs")}>Jobs</a></p>;
  if (!shown) return <>{crumb}<Head title="Job" /><Failure of={job.failed} /></>;
  return (
    <>
      {crumb}
      <Head title={<span class="title" dir="auto">{promptOf(shown)}</span>} name={promptOf(shown)} lead={<><Status of={shown.status} /> <Id id={shown.id} whole /> <Time at={shown.created_at} /></>}>
        <Actions job={shown} reload={job.reload} />
      </Head>
      <Failure of={job.failed} />
      <Story job={shown} over={over} />
      <div class="pair">
        <Pictures job={shown} />
        <Facts job={shown} />
      </div>
      <Section title="What happened" aside={<span class="dim small">{plural(shown.attempts.length, "call")}{shown.charged !== "unknown" && `, ${cost(shown.cost.charged)} in all`}</span>}>
        <Timeline job={shown} />
      </Section>
      <Deliveries of={`v1/jobs/${id}/deliveries`} whole />
      <Section title="As the API tells it">
        <details>
          <summary>JSON of <code>GET /v1/jobs/{id}</code></summary>
          <Code text={JSON.stringify(withoutSignatures(shown), null, 2)} what="JSON" />
        </details>
      </Section>
    </>
  );
}

/** A signed URL works for whoever has it, ours and others': the page shows no signature that nobody asked for. */
function withoutSignatures(job: Job): Job {
  return JSON.parse(JSON.stringify(job), (_, value) => (typeof value === "string" && /^https?:/.test(value) ? value.replace(/\?.*/s, "?…") : value));
}

function Story({ job, over }: { job: Job; over: boolean }) {
  const [told, setTold] = useState<Explanation>();
  useEffect(() => {
    if (over) return;
    const load = () => void ask<Explanation>(`v1/jobs/${job.id}/explain`).then(setTold, () => undefined);
    load();
    const timer = setInterval(load, EXPLAINED_EVERY);
    return () => clearInterval(timer);
  }, [job.id, job.sequence, over]);
  return (
    <div class="note story" data-status={job.status} aria-live="polite">
      {over || !told ? <p>{story(job)}</p> : <p><Told text={told.message} /></p>}
      {!over && told && told.binding.length > 0 && (
        <ul>{told.binding.map((each) => <li key={each.reason}><strong>{words(each.reason)}</strong> <Told text={each.message} /></li>)}</ul>
      )}
    </div>
  );
}

function Pictures({ job }: { job: Job }) {
  const image = job.result?.data[0];
  const gone = job.erased_at ?? (image && Date.parse(image.expires_at) < Date.now() ? image.expires_at : null);
  return (
    <Section title="Picture" aside={image && !gone && <a href={`v1/jobs/${job.id}/images/0`} download>Download</a>}>
      <div class="beside">
        {image && !gone ? (
          <figure class="picture">
            <a href={`v1/jobs/${job.id}/images/0`} target="_blank" rel="noopener">
              <img src={`v1/jobs/${job.id}/images/0`} alt={promptOf(job)} width={image.width} height={image.height} style={{ "--wide": `${image.width}px`, "--shape": image.width / image.height }} />
            </a>
            <figcaption class="dim">{image.width} × {image.height} · {image.content_type.replace("image/", "").toUpperCase()} · {bytes(image.bytes)}</figcaption>
          </figure>
        ) : (
          <div class="picture none" data-status={job.status}>
            {gone ? "The picture is gone; its charges stay." : TERMINAL.includes(job.status) ? "There is no picture." : "Not there yet."}
          </div>
        )}
        <References job={job} />
      </div>
    </Section>
  );
}

function Facts({ job }: { job: Job }) {
  const asked = Object.entries(job.input ?? {}).filter(([name]) => !["model", "prompt", "image_urls"].includes(name));
  return (
    <div class="facts">
      <Section title="Cost">
        <dl>
          <dt>Charged</dt><dd>{job.charged === "unknown" ? <span class="warn">partly unknown</span> : <Money credits={job.cost.charged} />}</dd>
          {job.cost.unknown > 0 && <><dt>Unknown</dt><dd><Money credits={job.cost.unknown} /><div class="dim small">known by <Time at={job.cost.unknown_until} /></div></dd></>}
          {job.cost.held > 0 && <><dt>Held</dt><dd><Money credits={job.cost.held} /></dd></>}
          {job.cost.adjusted !== 0 && <><dt>Corrected</dt><dd><Money credits={job.cost.adjusted} /></dd></>}
          <dt>Estimated</dt><dd><Money credits={job.cost.estimated} /></dd>
          {may("usage:read") && <><dt>Ledger</dt><dd><a href={href("money", "", { job: job.id })}>every booking</a></dd></>}
        </dl>
      </Section>
      <Section title="For whom">
        <dl>
          {job.customer && <><dt>Customer</dt><dd><a href={href("jobs", "", { customer: job.customer })}>{job.customer}</a> <Copy text={job.customer} /></dd></>}
          {Object.entries(job.metadata).map(([name, value]) => <><dt key={name}>{name}</dt><dd><bdi>{value}</bdi> <Copy text={value} /></dd></>)}
          {job.tags.length > 0 && <><dt>Tags</dt><dd class="tags">{job.tags.map((each) => <a key={each} class="tag" href={href("jobs", "", { tag: each })}>{each}</a>)}</dd></>}
          {job.batch_id && <><dt>Batch</dt><dd><Id id={job.batch_id} room="batches" /> {job.custom_id}</dd></>}
          <dt>Priority</dt><dd>{job.priority}</dd>
          {job.retried_from && <><dt>Runs again</dt><dd><Id id={job.retried_from} room="jobs" /></dd></>}
          {job.reused_from && <><dt>Image of</dt><dd><Id id={job.reused_from} room="jobs" /></dd></>}
        </dl>
      </Section>
      <Section title="Asked for">
        <dl>
          <dt>Model</dt><dd>{String(job.input?.model ?? "erased")}</dd>
          {asked.map(([name, value]) => <><dt key={name}>{words(name)}</dt><dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd></>)}
          <dt>Prompt</dt><dd class="whole" dir="auto">{promptOf(job)} <Copy text={promptOf(job)} what="Prompt" /></dd>
        </dl>
      </Section>
    </div>
  );
}

function Actions({ job, reload }: { job: Job; reload: () => Promise<void> }) {
  const [erasing, setErasing] = useState(false);
  const [link, setLink] = useState<{ url: string; expires_at: string } | null>(null);
  const over = TERMINAL.includes(job.status);
  async function again() {
    const made = await ask<Job>(`v1/jobs/${job.id}/retry`, { body: {}, headers: onceOnly() });
    go(href("jobs", made.id));
  }
  async function cancel() {
    const answered = await ask<Job>(`v1/jobs/${job.id}/cancel`, { body: {} });
    say(answered.cancel?.outcome === "pending" ? "Asked for: a call is under way, and is not aborted." : "Canceled.");
    await reload();
  }
  return (
    <>
      {job.has_image && !job.erased_at && <Button does={async () => setLink(await ask(`v1/jobs/${job.id}/share`, { body: {} }))}>Share</Button>}
      {may("jobs:write") && !over && !job.cancel && <Button kind="danger" does={cancel}>Cancel</Button>}
      {may("jobs:write") && over && !job.erased_at && (
        <>
          <a class="button" href={href("playground", "", { from: job.id })}>Edit and run again</a>
          <Button kind="main" does={again}>Run again</Button>
          <Button kind="danger" does={() => setErasing(true)}>Erase…</Button>
        </>
      )}
      <Dialog title="Erase this job" open={erasing} close={() => setErasing(false)}>
        <p>Its input and its picture are gone for good. Ids, charges and times stay, and so does the ledger.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setErasing(false)}>Leave it</button>
          <Button kind="danger" does={async () => { await ask(`v1/jobs/${job.id}`, { method: "DELETE" }); setErasing(false); await reload(); }}>Erase</Button>
        </div>
      </Dialog>
      <Dialog title="A link to the picture" open={link !== null} close={() => setLink(null)}>
        <p>Whoever has it sees the picture, without a key, until <Time at={link?.expires_at ?? null} />.</p>
        <Code text={link?.url ?? ""} what="Link" wrap />
        <div class="actions"><button type="button" onClick={() => setLink(null)}>Close</button></div>
      </Dialog>
    </>
  );
}
