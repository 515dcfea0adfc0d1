// Jobs: a table or a gallery, searched and narrowed; what is chosen is canceled, run again or erased, after a look.
import { useCallback, useEffect, useState } from "preact/hooks";
import { ask, may, query } from "../api";
import { between, plural, promptOf, span, words } from "../format";
import { useChanges } from "../live";
import type { Job, JobPage } from "../openapi";
import { arrived, go, href, place, refine } from "../route";
import { Empty, Failure, Head, Id, Money, None, Status, Table, Time, useLoaded } from "../ui";
import { AllFound, UnderWay } from "./actions";
import { Filters, useFilter } from "./filters";
import { NoneYet } from "./first";
import { Sweep, type Deed } from "./sweep";
import { Thumbnail } from "./thumbnail";

const NONE: ReadonlyMap<string, Job> = new Map();

export function JobsRoom() {
  const at = place.value.query;
  const gallery = at.view === "gallery";
  const filter = useFilter();
  const asked = query({ ...filter, limit: gallery ? 48 : 25, cursor: at.cursor });
  const page = useLoaded<JobPage>((signal) => ask(`v1/jobs${asked}`, { signal }), [asked]);
  const [chosen, setChosen] = useState(NONE);
  const [deed, setDeed] = useState<Deed | null>(null);
  const [actions, setAsked] = useState<readonly string[]>([]);
  const heard = useCallback(() => void page.reload(), [page.reload]);
  useChanges(heard, !at.cursor);
  useEffect(() => setChosen(NONE), [asked]);
  const jobs = page.value?.data ?? [];
  const picked = [...chosen.values()].map((job) => jobs.find((each) => each.id === job.id) ?? job); // also when it has left the page
  const narrowed = Object.keys(filter).length > 0;

  return (
    <>
      <Head title="Jobs" lead="One image each, from acceptance to its end; newest first.">
        <div class="switch" role="group" aria-label="View">
          <button type="button" aria-pressed={!gallery} onClick={() => refine({ view: undefined, cursor: undefined })}>
            Table
          </button>
          <button type="button" aria-pressed={gallery} onClick={() => refine({ view: "gallery", cursor: undefined })}>
            Gallery
          </button>
        </div>
        {may("jobs:write") && (
          <a class="button main" href={href("playground")}>
            New job
          </a>
        )}
      </Head>
      <Filters />
      {jobs.length > 0 && (
        <div class="line over">
          <a class="button quiet" href={`v1/jobs${query({ ...filter, format: "csv" })}`} download>Save as CSV</a>
          {may("jobs:write") && <AllFound filter={filter} asked={(action) => setAsked((before) => [...before, action])} />}
        </div>
      )}
      <UnderWay asked={actions} done={heard} />
      <Failure of={page.failed} />
      {picked.length > 0 && (
        <div class="chosen" role="region" aria-label="Chosen jobs">
          <strong>{plural(picked.length, "job")} chosen</strong>
          <button type="button" onClick={() => setDeed("cancel")}>Cancel…</button>
          <button type="button" onClick={() => setDeed("retry")}>Run again…</button>
          <button type="button" class="danger" onClick={() => setDeed("erase")}>Erase…</button>
          <button type="button" class="quiet" onClick={() => setChosen(NONE)}>Choose none</button>
        </div>
      )}
      <Sweep deed={deed} jobs={picked} close={() => setDeed(null)} done={() => { setChosen(NONE); void page.reload(); }} />
      {page.value && jobs.length === 0 && (narrowed || at.cursor ? <NoneFound more={page.value.has_more} /> : <NoneYet />)}
      {jobs.length > 0 && (gallery ? <Gallery jobs={jobs} /> : <List jobs={jobs} chosen={chosen} choose={setChosen} />)}
      {page.value && <Paging page={page.value} />}
    </>
  );
}

interface ListProps {
  jobs: Job[];
  chosen: ReadonlyMap<string, Job>;
  choose: (chosen: ReadonlyMap<string, Job>) => void;
}

function List({ jobs, chosen, choose }: ListProps) {
  const all = jobs.every((each) => chosen.has(each.id));
  function toggle(job: Job) {
    const next = new Map(chosen);
    if (!next.delete(job.id)) next.set(job.id, job);
    choose(next);
  }
  const box = (
    <input
      type="checkbox"
      aria-label="Choose every job of this page"
      checked={all}
      onChange={() => choose(all ? NONE : new Map(jobs.map((each) => [each.id, each])))}
    />
  );
  const head = [may("jobs:write") ? box : "", <span class="hidden">Picture</span>, "Job", "Status", "Created", <span class="right">Took</span>, <span class="right">Cost</span>, "For"];
  return (
    <Table caption="Jobs" head={head} cards>
      {jobs.map((job) => (
        <tr key={job.id} data-chosen={chosen.has(job.id) ? "" : undefined}>
          <td class="tight">
            {may("jobs:write") && <input type="checkbox" aria-label={`Choose ${job.id}`} checked={chosen.has(job.id)} onChange={() => toggle(job)} />}
          </td>
          <td class="tight"><Thumbnail job={job} /></td>
          <td class="wide">
            <a class="prompt" dir="auto" href={href("jobs", job.id)}>{promptOf(job)}</a>
            <Id id={job.id} />
          </td>
          <td>
            <Status of={job.status} />
            <div class="dim small">{job.waiting_reason ? words(job.waiting_reason) : job.error ? words(job.error.code) : ""}</div>
          </td>
          <td><Time at={job.created_at} /></td>
          <td class="right">{job.finished_at ? span(between(job.created_at, job.finished_at)) : <None />}</td>
          <td class="right"><Cost job={job} /></td>
          <td class="small"><For job={job} /></td>
        </tr>
      ))}
    </Table>
  );
}

function Cost({ job }: { job: Job }) {
  if (job.charged === "unknown") return <span class="warn">unknown</span>;
  if (job.cost.charged || job.finished_at) return <Money credits={job.cost.charged} stacked />;
  return <span class="dim">holds <Money credits={job.cost.held} stacked /></span>;
}

function For({ job }: { job: Job }) {
  const pairs = Object.entries(job.metadata).slice(0, 2);
  return (
    <>
      {job.customer && <a href={href("jobs", "", { customer: job.customer })}>{job.customer}</a>}
      {pairs.map(([name, value]) => (
        <div key={name} class="ellipsis"><span class="dim">{name}</span> <bdi>{value}</bdi></div>
      ))}
      {job.tags.length > 0 && (
        <div class="tags">
          {job.tags.slice(0, 3).map((each) => (
            <a key={each} class="tag" href={href("jobs", "", { tag: each })}>{each}</a>
          ))}
        </div>
      )}
    </>
  );
}

function Gallery({ jobs }: { jobs: Job[] }) {
  return (
    <ul class="gallery">
      {jobs.map((job) => (
        <li key={job.id}>
          <a href={href("jobs", job.id)}>
            <Thumbnail job={job} large />
            <span class="caption">
              <span class="prompt" dir="auto">{promptOf(job)}</span>
              <span class="line"><Status of={job.status} /> <Time at={job.created_at} /></span>
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Paging({ page }: { page: JobPage }) {
  const at = place.value.query;
  if (!at.cursor && !page.has_more) return null;
  return (
    <nav class="paging" aria-label="Pages">
      <button type="button" disabled={!at.cursor} onClick={() => go(href("jobs", "", { ...at, cursor: undefined }))}>Newest</button>
      <button type="button" disabled={!at.cursor || arrived.value.first} onClick={() => history.back()}>Back</button>
      <button type="button" disabled={!page.has_more} onClick={() => refine({ cursor: page.next_cursor ?? undefined })}>
        {page.data.length ? "Older" : "Look further back"}
      </button>
    </nav>
  );
}

function NoneFound({ more }: { more: boolean }) {
  return (
    <Empty title={more ? "Not among these" : "No job is like that"}>
      <p>{more ? "The newest were looked through, one by one, and older ones are left: look further back." : "Leave out a filter, or search for less."}</p>
      <p><a href={href("jobs")}>Show every job</a></p>
    </Empty>
  );
}
