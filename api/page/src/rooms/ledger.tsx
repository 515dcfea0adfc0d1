// The ledger: every hold, release, charge and correction, the newest first; all of it as a file.
import { ask, query } from "../api";
import { words } from "../format";
import type { LedgerPage } from "../openapi";
import { place, refine } from "../route";
import { Button, Failure, Id, Money, say, Section, Table, Time, useLoaded } from "../ui";

const KINDS = ["charge", "hold", "release", "refund", "adjustment"];

export function Ledger() {
  const at = place.value.query;
  const asked = query({ kind: at.kind, customer: at.of, job: at.job, limit: 25, cursor: at.line });
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
        <Button does={save}>Save as CSV</Button>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">No booking is like that.</p>}
      {found.length > 0 && (
        <Table caption="Ledger" head={["When", "Kind", "Job", "Call", "Customer", "Provider's id", <span class="right">Credits</span>]}>
          {found.map((each) => (
            <tr key={each.reference + each.kind}>
              <td><Time at={each.made_at ?? each.at} /></td>
              <td>{words(each.kind)}</td>
              <td><Id id={each.job} room="jobs" /></td>
              <td>{each.attempt}</td>
              <td>{each.customer ?? <span class="dim">–</span>}</td>
              <td class="small break">{each.inference_id ?? <span class="dim">–</span>}</td>
              <td class="right"><Money credits={each.credits} /></td>
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

  async function save() {
    const answer = await fetch(`v1/ledger${query({ kind: at.kind, customer: at.of, job: at.job })}`, { headers: { accept: "text/csv" } });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "ledger.csv";
    link.click();
    URL.revokeObjectURL(link.href);
    say("Saved as ledger.csv");
  }
}
