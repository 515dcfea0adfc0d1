// Batches: many jobs as one request. A file is judged row by row before anything is paid; then it is one number to watch.
import { useCallback } from "preact/hooks";
import { ask, may, query } from "../../api";
import { curl, number, plural } from "../../format";
import { usePolling } from "../../live";
import type { Batch, BatchPage } from "../../openapi";
import { href, place, refine } from "../../route";
import { Code, Empty, Failure, Head, Id, Money, Section, Status, Table, Time, useLoaded } from "../../ui";
import { NewBatch } from "./new";
import { Progress } from "./progress";

const FIRST = `-H 'Content-Type: text/csv' \\
  --data-binary 'prompt
A lighthouse at dawn
A lighthouse at dusk'`;
const STATUSES = ["running", "paused", "canceling", "completed", "canceled"];

export function BatchesRoom() {
  const at = place.value.query;
  const asked = query({ status: at.status, limit: 20, cursor: at.cursor });
  const page = useLoaded<BatchPage>((signal) => ask(`v1/batches${asked}`, { signal }), [asked]);
  const look = useCallback(() => void page.reload(), [page.reload]);
  usePolling(look);
  const found = page.value?.data ?? [];
  const none = page.value && !found.length;
  return (
    <>
      <Head title="Batches" lead="Up to 50,000 rows as one request: judged before anything is paid, one decision about money, one file of results." />
      {may("jobs:write") && <NewBatch />}
      <Section title="So far" aside={
        <label><span class="hidden">Status</span>
          <select value={at.status ?? ""} onChange={(event) => refine({ status: event.currentTarget.value, cursor: undefined })}>
            <option value="">Every status</option>{STATUSES.map((each) => <option key={each}>{each}</option>)}
          </select>
        </label>}>
        <Failure of={page.failed} />
        {none && (at.status || at.cursor ? <p class="dim">No batch is like that.</p> : <NoneYet />)}
        {found.length > 0 && (
          <Table caption="Batches" stack head={["Batch", "Status", "Progress", <span class="right">Rows</span>, <span class="right">Charged</span>, "Created"]}>
            {found.map((each) => <Row key={each.id} of={each} />)}
          </Table>
        )}
        {(at.cursor || page.value?.has_more) && (
          <nav class="paging" aria-label="Pages of batches">
            <button type="button" disabled={!at.cursor} onClick={() => refine({ cursor: undefined })}>Newest</button>
            <button type="button" disabled={!page.value?.has_more} onClick={() => refine({ cursor: page.value?.next_cursor ?? undefined })}>Older</button>
          </nav>
        )}
      </Section>
    </>
  );
}

function NoneYet() {
  return (
    <Empty title="No batch yet">
      {may("jobs:write") ? (
        <>
          <p>Drop a file above: a row for each picture, with a column <code>prompt</code>. Or from a terminal, at once:</p>
          <Code text={curl("v1/batches", FIRST)} />
        </>
      ) : (
        <p>A key with the scope <code>jobs:write</code> sends the first.</p>
      )}
    </Empty>
  );
}

/** Return what a batch is called: its name, if it was given one, or what it is. */
export function nameOf(of: Batch): string {
  return of.metadata.name ?? plural(of.total, "row");
}

function Row({ of }: { of: Batch }) {
  return (
    <tr>
      <td><a class="prompt" dir="auto" href={href("batches", of.id)}>{nameOf(of)}</a><Id id={of.id} /></td>
      <td><Status of={of.status} /></td>
      <td class="wide"><Progress of={of} thin /></td>
      <td class="right" data-name="Rows">{number(of.total)}{of.counts.failed + of.counts.expired > 0 && <div class="small reason">{number(of.counts.failed + of.counts.expired)} without picture</div>}</td>
      <td class="right" data-name="Charged"><Money credits={of.credits.charged} stacked /></td>
      <td data-name="Created"><Time at={of.created_at} /></td>
    </tr>
  );
}
