// Money: what was spent, by day and by whatever explains it; budgets; every booking of the ledger.
import { ask, may, query } from "../api";
import { cost, level, number, plural, titled } from "../format";
import { Bars } from "../chart";
import type { ApiKey, ApiKeyList, Now, UsageReport, UsageRow } from "../openapi";
import { href, pick, place, refine } from "../route";
import { Failure, Head, Id, Money, None, Section, Sum, Table, Time, useLoaded } from "../ui";
import { Budgets } from "./budgets";
import { Ledger } from "./ledger";

const PERIODS: Record<string, number> = { "7": 7, "30": 30, "90": 90, "365": 365 };
const GROUPS = ["day", "customer", "key", "tag", "model"] as const;

/** Return when a day begins, so many before today, in the reader's zone: not every day has 24 hours. */
function daysAgo(days: number): Date {
  const now = new Date();
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - days);
}

export function MoneyRoom() {
  const at = place.value.query;
  const days = pick(PERIODS, at.days) ?? 30;
  const by = GROUPS.find((each) => each === at.by) ?? "day";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const from = daysAgo(days - 1).toISOString();
  const load = (group: string) => (signal: AbortSignal) => ask<UsageReport>(`v1/usage${query({ group_by: group, from, tz: zone })}`, { signal });
  const daily = useLoaded<UsageReport>(load("day"), [days]);
  const grouped = useLoaded<UsageReport | null>(by === "day" ? () => Promise.resolve(null) : load(by), [days, by]);
  const books = useLoaded<Now>((signal) => ask("v1/now", { signal }), []).value?.books;
  const report = by === "day" ? daily.value : grouped.value;
  const totals = daily.value?.totals;
  return (
    <>
      <Head title="Money" lead={`Every credit, by when the provider charged it; days as in ${zone}.`}>
        <div class="switch" role="group" aria-label="Time">
          {Object.keys(PERIODS).map((each) => (
            <button key={each} type="button" aria-pressed={days === Number(each)} onClick={() => refine({ days: each })}>{each === "365" ? "A year" : `${each} days`}</button>
          ))}
        </div>
      </Head>
      <Failure of={daily.failed ?? grouped.failed} />
      {totals && (
        <dl class="figures six">
          <Sum name="Charged" credits={totals.charged.credits} />
          <Sum name="Held now" credits={totals.held.credits} />
          <Sum name="Unknown" warn={totals.unknown.credits > 0} credits={totals.unknown.credits} note="of lost answers" />
          <div><dt>Pictures</dt><dd>{number(totals.jobs.succeeded)}</dd><dd class="dim">of {number(totals.jobs.submitted)} jobs</dd></div>
          <Agreement of={books} />
          <Sum name="Saved by reuse" credits={totals.saved.credits} />
        </dl>
      )}
      {daily.value && <Daily report={daily.value} days={days} aside={by !== "day"} />}
      <Section title="Spent" aside={
        <label class="line"><span class="dim">by</span>
          <select aria-label="Group by" value={by} onChange={(event) => refine({ by: event.currentTarget.value })}>{GROUPS.map((each) => <option key={each}>{each}</option>)}</select>
        </label>}>
        {report && <Groups report={report} by={by} />}
      </Section>
      <Budgets />
      <Ledger />
    </>
  );
}

/** Whether our books and the provider's agree: told to the operator's project alone. */
function Agreement({ of: books }: { of: Now["books"] | undefined }) {
  if (!books) return null;
  const off = books.differences + books.charges_of_nobody;
  return (
    <div data-warn={off ? "" : undefined}>
      <dt>Ours − provider's</dt><dd>{off ? `${number(off)} differ` : "0"}</dd>
      <dd class="dim">{books.checked_at ? <>checked <Time at={books.checked_at} /></> : "not checked yet"}</dd>
    </div>
  );
}

function Daily({ report, days, aside }: { report: UsageReport; days: number; aside: boolean }) {
  const spent = new Map(report.data.map((each) => [each.day, each]));
  const bars = Array.from({ length: days }, (_, index) => {
    const day = daysAgo(days - 1 - index).toLocaleDateString("sv"); // as ISO 8601 writes a day
    const row = spent.get(day);
    return { name: day, value: row?.charged.credits ?? 0, title: `${day}: ${cost(row?.charged.credits ?? 0)}, ${plural(row?.jobs.succeeded ?? 0, "picture")}` };
  });
  const every = Math.ceil(days / (matchMedia("(max-width: 640px)").matches ? 4 : 8));
  const chart = <Bars of={bars} label="Charged on each day" written={level} marks={(day, index) => (index % every === 0 ? day.slice(5) : "")} />;
  return (
    <>
      {chart}
      {aside && (
        <details class="aside">
          <summary>The same as a table</summary>
          <Groups report={report} by="day" />
        </details>
      )}
    </>
  );
}

/** What a row is about, leading to its jobs; a key with its name, for who may see keys. */
function Group({ of, by, keys }: { of: UsageRow; by: (typeof GROUPS)[number]; keys: ApiKey[] }) {
  const value = of[by];
  if (!value) return <span class="dim">none</span>;
  if (by === "day") return <span class="nowrap">{value}</span>;
  if (by !== "key") return <a href={href("jobs", "", { [by]: value })}>{value}</a>;
  return <>{keys.find((each) => each.id === value)?.name} <Id id={value} /></>;
}

function Groups({ report, by }: { report: UsageReport; by: (typeof GROUPS)[number] }) {
  const rows = by === "day" ? [...report.data].reverse() : [...report.data].sort((a, b) => b.charged.credits - a.charged.credits);
  const keys = useLoaded<ApiKeyList | null>((signal) => (by === "key" && may("admin") ? ask("v1/keys", { signal }) : Promise.resolve(null)), [by]);
  if (!rows.length) return <p class="dim">Nothing was spent in this time.</p>;
  return (
    <>
      {by === "tag" && <p class="dim small">A job counts under each of its tags, so these rows add up to more than the total.</p>}
      <Table caption={`Spent by ${by}`} stack head={[titled(by), <span class="right">Jobs</span>, <span class="right">Pictures</span>, <span class="right">Failed</span>, <span class="right">Calls</span>, <span class="right">Charged</span>, <span class="right">Unknown</span>]}>
        {rows.map((each: UsageRow, index) => (
          <tr key={index}>
            <td class="wide"><Group of={each} by={by} keys={keys.value?.data ?? []} /></td>
            <td class="right" data-name="Jobs">{number(each.jobs.submitted)}</td>
            <td class="right" data-name="Pictures">{number(each.jobs.succeeded)}</td>
            <td class="right" data-name="Failed">{number(each.jobs.failed)}</td>
            <td class="right" data-name="Calls">{number(each.attempts)}</td>
            <td class="right" data-name="Charged"><Money credits={each.charged.credits} /></td>
            <td class="right" data-name="Unknown">{each.unknown.credits ? <span class="warn"><Money credits={each.unknown.credits} /></span> : <None />}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
