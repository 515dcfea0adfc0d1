// How it goes, for who has a minute: a sentence, who is needed, the last hour, what waits, and money.
import { useCallback } from "preact/hooks";
import { ask, may, query } from "../api";
import { number, plural, promptOf, span, words } from "../format";
import { useChanges, usePolling } from "../live";
import type { JobPage, Now } from "../openapi";
import { href } from "../route";
import { Announced, Failure, Head, Money, Section, Sum, Table, Time, Told, useLoaded } from "../ui";
import { Gauge } from "./budgets";
import { NoneYet } from "./first";
import { Flow } from "./flow";
import { Thumbnail } from "./thumbnail";

const LATEST = 12;
const ERASED = 6; // of the latest, beside which as many are shown

export function NowRoom() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const now = useLoaded<Now>((signal) => ask(`v1/now${query({ tz: zone })}`, { signal }), []);
  const latest = useLoaded<JobPage>((signal) => ask(`v1/jobs${query({ status: "succeeded", limit: LATEST + ERASED })}`, { signal }), []);
  const pictured = latest.value && latest.value.data.length > 0;
  const any = useLoaded<JobPage | null>((signal) => (pictured === false ? ask("v1/jobs?limit=1", { signal }) : Promise.resolve(null)), [pictured]);
  const look = useCallback(() => void now.reload(), [now.reload]);
  const heard = useCallback(() => {
    void now.reload();
    void latest.reload();
    if (any.value?.data.length === 0) void any.reload();
  }, [now.reload, latest.reload, any.reload, any.value]);
  useChanges(heard);
  usePolling(look);
  const of = now.value;
  if (any.value?.data.length === 0) return <><Head title="Now" /><NoneYet /></>;
  return (
    <>
      <Head title="Now" lead={<span>How it goes{of && <>, as of <Time at={of.at} /></>}.</span>}>
        {may("jobs:write") && <a class="button main" href={href("playground")}>New job</a>}
      </Head>
      <Failure of={now.failed} />
      {of && (
        <>
          <Sentence of={of} />
          <Figures of={of} />
          <Flow of={of.flow} />
          <div class="halves">
            <Waiting of={of} />
            <Spending of={of} />
          </div>
        </>
      )}
      {of && latest.value && pictured && (
        <Section title="Latest pictures" aside={<a class="small" href={href("jobs", "", { view: "gallery", status: "succeeded" })}>All of them</a>}>
          <ul class="strip">
            {latest.value.data.filter((each) => !each.erased_at).slice(0, LATEST).map((job) => <li key={job.id}><a href={href("jobs", job.id)} aria-label={promptOf(job)}><Thumbnail job={job} large /></a></li>)}
          </ul>
        </Section>
      )}
    </>
  );
}

/** Return the room of the page that shows what a path of the API tells. */
function roomOf(path: string): string {
  const [, , noun = "", id = ""] = path.split(/[/?]/);
  if (noun === "jobs") return href("jobs", "", Object.fromEntries(new URLSearchParams(path.split("?")[1])));
  if (noun === "budgets") return href("money");
  return href(noun, id);
}

function Sentence({ of }: { of: Now }) {
  const needs = of.attention.filter((each) => !of.message.startsWith(each.message));
  const stopped = needs.length < of.attention.length;
  return (
    <section class="story" data-status={stopped ? "failed" : needs.length ? "expired" : of.running ? "running" : "succeeded"} aria-label="How it goes">
      <p><Told text={of.message} /></p>
      <Announced of={of.attention.map((each) => each.code + each.see).join()} text={of.attention.map((each) => each.message).join(" ") || "Nothing needs a person any more."} />
      {needs.length > 0 && (
        <ul class="plain needs" aria-label="What needs a person">
          {needs.map((each) => (
            <li key={each.code + each.see}><Told text={each.message} /> {each.see && <a href={roomOf(each.see)}>Look at it</a>}</li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Figures({ of }: { of: Now }) {
  const { provider_limit: limit, waiting, unknown_charges: unknown, wallet } = of;
  const made = of.flow.reduce((sum, each) => sum + each.succeeded, 0);
  const gone = of.flow.reduce((sum, each) => sum + each.failed + each.expired, 0);
  const least = of.flow.some((each) => each.at_least);
  return (
    <dl class="figures six">
      <div><dt>Under way</dt><dd>{number(of.running)}</dd><dd class="dim">{number(limit.in_flight)} of {plural(limit.calls, "call")} that the provider admits</dd><Used used={limit.in_flight} most={limit.calls} /></div>
      <div><dt>Waiting</dt><dd>{waiting.at_least && "≥ "}{number(waiting.jobs)}</dd><dd class="dim">{waiting.jobs ? `the oldest for ${span(waiting.oldest_seconds * 1000)}` : "nothing waits"}</dd></div>
      <div><dt>Pictures in an hour</dt><dd>{least && "≥ "}{number(made)}</dd><dd class="dim">{gone ? `${number(gone)} failed or expired` : "nothing failed"}</dd></div>
      {of.today && <Sum name="Spent today" credits={of.today.charged.credits} note={plural(of.today.pictures, "picture")} />}
      {wallet && <Sum name="Wallet" warn={wallet.state !== "ok"} credits={wallet.credits} note={wallet.ends_at ? <>at this pace until <Time at={wallet.ends_at} /></> : "nothing spent in the last hour"} />}
      <div data-warn={unknown.overdue ? "" : undefined}><dt>Unknown charges</dt><dd>{number(unknown.calls)}</dd><dd class="dim">{!unknown.calls ? "every call is accounted for" : unknown.held ? <><Money credits={unknown.held.credits} /> held for them</> : "of lost answers"}</dd></div>
    </dl>
  );
}

function Used({ used, most }: { used: number; most: number }) {
  return (
    <dd>
      <div class="track" role="img" aria-label={`${Math.round((100 * used) / Math.max(most, 1))} % of the limit is used`}>
        <svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="spent" width={Math.min(100, (100 * used) / Math.max(most, 1))} height="1" /></svg>
      </div>
    </dd>
  );
}

function Waiting({ of }: { of: Now }) {
  const lines = of.waiting.reasons;
  return (
    <Section title="What waits, and why" aside={of.waiting.at_least && <span class="dim small">of the {number(of.waiting.jobs)} that were looked at</span>}>
      {!lines.length && <p class="dim">{of.waiting.dispatched ? `${plural(of.waiting.dispatched, "job is", "jobs are")} on the way to a worker.` : "No job waits."}</p>}
      {lines.length > 0 && (
        <Table caption="Waiting, by reason" head={["Reason", <span class="right">Jobs</span>, <span class="right">Oldest</span>]}>
          {lines.map((each) => (
            <tr key={each.reason}>
              <td><a class="capital block" href={href("jobs", "", { status: "queued", waiting_reason: each.reason })}>{words(each.reason)}</a></td>
              <td class="right">{number(each.jobs)}</td>
              <td class="right">{span(each.oldest_seconds * 1000)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Section>
  );
}

function Spending({ of }: { of: Now }) {
  if (!of.budgets) return null;
  return (
    <Section title="Against the budget" aside={<a class="small" href={href("money")}>Money</a>}>
      {!of.budgets.length && <p class="dim">The project has no budget: nothing bounds what may be spent. <a href={href("money")}>Set one</a>.</p>}
      <ul class="budgets">{of.budgets.map((each) => <li key={each.id}><Gauge of={each} /></li>)}</ul>
    </Section>
  );
}
