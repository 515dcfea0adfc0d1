// What was told to whom, with every try; and sending it again.
import { useState } from "preact/hooks";
import { ask, may, query } from "../api";
import { words } from "../format";
import type { Delivery, DeliveryPage } from "../openapi";
import { href } from "../route";
import { Button, Failure, Id, say, Section, Status, Table, Time, useLoaded } from "../ui";

/** Those of a job, each with its endpoint (`whole`), or those of an endpoint, each with its job. */
export function Deliveries({ of, whole }: { of: string; whole?: boolean }) {
  const [cursor, setCursor] = useState<string>();
  const page = useLoaded<DeliveryPage>((signal) => ask(`${of}${query({ limit: 20, cursor })}`, { signal }), [of, cursor]);
  const found = page.value?.data ?? [];
  return (
    <Section title="Deliveries" aside={<Button kind="quiet" does={page.reload}>Refresh</Button>}>
      <Failure of={page.failed} />
      {page.value && found.length === 0 && <p class="dim">{whole ? <>Nobody was to be told. <a href={href("webhooks")}>Register an endpoint</a>, or give a job a webhook of its own.</> : "Nothing has happened yet that it is told of. Send a test."}</p>}
      {found.length > 0 && (
        <Table caption="Deliveries" stack head={["Event", "State", "Last try", "Tries", <span class="hidden">Actions</span>]}>
          {found.map((each) => <Row key={each.id} of={each} whole={whole} reload={page.reload} />)}
        </Table>
      )}
      {(cursor || page.value?.has_more) && (
        <div class="paging">
          <button type="button" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>
        </div>
      )}
    </Section>
  );
}

const UNDER_WAY = ["pending", "sending"];

function Row({ of, whole, reload }: { of: Delivery; whole: boolean | undefined; reload: () => Promise<void> }) {
  const last = of.tries[of.tries.length - 1];
  return (
    <tr>
      <td class="wide">
        <strong>{of.type}</strong> <Id id={of.event_id} />
        {whole && <div class="dim small break">{of.endpoint_id ? <a href={href("webhooks", of.endpoint_id)}>{of.url}</a> : of.url}</div>}
        {!whole && of.job_id && <div class="dim small">of <Id id={of.job_id} room="jobs" /></div>}
      </td>
      <td><Status of={of.state} />{of.next_try_at && <div class="dim small">again <Time at={of.next_try_at} /></div>}</td>
      <td data-name="Last try"><Time at={last?.at ?? null} /></td>
      <td data-name="Tries">
        <details>
          <summary>{of.tries.length}</summary>
          <ol class="tries">
            {of.tries.map((each) => (
              <li key={each.number}><Time at={each.at} /> {each.http_status ?? words(each.result)} <span class="dim">{each.latency_ms} ms</span></li>
            ))}
          </ol>
        </details>
      </td>
      <td class="right">
        {may("webhooks") && !UNDER_WAY.includes(of.state) && (
          <Button does={async () => { await ask(`v1/deliveries/${of.id}/redeliver`, { body: {} }); say("It is sent again."); await reload(); }}>Send again</Button>
        )}
      </td>
    </tr>
  );
}
