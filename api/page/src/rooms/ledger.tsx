// The ledger: every hold, release, charge and correction, the newest first; all of it as a file.
import { ask, query } from "../api";
import { words } from "../format";
import type { LedgerPage } from "../openapi";
import { place, refine } from "../route";
import { Failure, Id, Money, None, Section, Table, Time, useLoaded } from "../ui";

const KINDS = ["charge", "hold", "release", "refund", "adjustment"];

const MONTHS = 12;
const written = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" });
const beginning = (month: string, after = 0): Date => new Date(Number(month.slice(0, 4)), Number(month.slice(5)) - 1 + after, 1);
const title = (month: string): string => written.format(beginning(month));

/** Name the last months, the present one first: `2026-11`. */
function lastMonths(): string[] {
  const now = new Date();
  return Array.from({ length: MONTHS }, (_, back) => new Date(now.getFullYear(), now.getMonth() - back, 1).toLocaleDateString("sv").slice(0, 7));
}

/** Return when a month begins and ends, in the reader's zone. */
function monthOf(month: string | undefined): { from?: string; to?: string } {
  if (!month || !/^\d{4}-\d{2}$/.test(month)) return {};
  return { from: beginning(month).toISOString(), to: beginning(month, 1).toISOString() };
}

export function Ledger() {
  const at = place.value.query;
  const chosen = { kind: at.kind, customer: at.of, job: at.job, ...monthOf(at.month) };
  const asked = query({ ...chosen, limit: 25, cursor: at.line });
  const page = useLoaded<LedgerPage>((signal) => ask(`v1/ledger${asked}`, { signal }), [asked]);
  const found = page.value?.data ?? [];
  return (
    <Section title="Ledger" aside={
      <div class="line">
        {at.job && <><Id id={at.job} room="jobs" /><button type="button" class="quiet" onClick={() => refine({ job: undefined, line: undefined })}>Every job</button></>}
        <label><span class="hidden">Kind</span>
          <select value={at.kind ?? ""} onChange={(event) => refine({ kind: event.currentTarget.value, line: undefined })}>
            <option value="">Every kind</option>{KINDS.map((each) => <option key={each}>{each}</option>)}
          </select>
        </label>
        <label><span class="hidden">Month</span>
          <select value={at.month ?? ""} onChange={(event) => refine({ month: event.currentTarget.value, line: undefined })}>
            <option value="">Any time</option>{lastMonths().map((each) => <option key={each} value={each}>{title(each)}</option>)}
          </select>
        </label>
        <a class="button" href={`v1/ledger${query({ ...chosen, format: "csv" })}`} download>Save as CSV</a>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">{at.kind || at.of || at.job || at.month ? "No booking is like that." : "Nothing was booked yet: the first job holds what it may cost."}</p>}
      {found.length > 0 && (
        <Table caption="Ledger" stack head={["When", "Kind", "Job", "Call", "Customer", "Provider's id", <span class="right">Credits</span>]}>
          {found.map((each) => (
            <tr key={each.reference + each.kind}>
              <td><Time at={each.made_at ?? each.at} /></td>
              <td class="label">{words(each.kind)}</td>
              <td><Id id={each.job} room="jobs" /></td>
              <td data-name="Call">{each.attempt}</td>
              <td data-name="Customer">{each.customer ? <span class="ellipsis" title={each.customer}>{each.customer}</span> : <None />}</td>
              <td class="small nowrap" data-name="Provider's id">{each.inference_id ?? <None />}</td>
              <td class="right" data-name="Credits"><Money credits={each.credits} /></td>
            </tr>
          ))}
        </Table>
      )}
      {(at.line || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of the ledger">
          <button type="button" disabled={!at.line} onClick={() => refine({ line: undefined })}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => refine({ line: page.value?.next_cursor ?? undefined })}>Older</button>
        </nav>
      )}
    </Section>
  );
}
