// Calls of which nobody knows yet what they cost, and saying it when nobody else can.
import { useEffect, useState } from "preact/hooks";
import { ask, query } from "../../api";
import { Form } from "../../form";
import { number, span, words } from "../../format";
import type { InstallationState, UnknownCharge, UnknownChargePage } from "../../openapi";
import { Dialog, Failure, Id, Money, say, Section, Table, Time, useLoaded } from "../../ui";

export function Charges({ of, reload }: { of: InstallationState; reload: () => Promise<void> }) {
  const [cursor, setCursor] = useState<string>();
  const page = useLoaded<UnknownChargePage>((signal) => ask(`v1/operator/charges${query({ limit: 20, cursor })}`, { signal }), [cursor]);
  const [meant, setMeant] = useState<UnknownCharge | null>(null);
  const found = page.value?.data ?? [];
  const told = of.charges.unknown;
  useEffect(() => void page.reload(), [told]);
  return (
    <Section title="Unknown charges">
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">None: of every call that ended it is known what it cost.</p>}
      {found.length > 0 && (
        <>
          <p class="dim small over">Most are found in the provider's log within {span(of.charges.expected_seconds * 1000)}. Say what one cost only when the log cannot.</p>
          <Table caption="Unknown charges" stack head={["Job", "Called", "What came back", <span class="right">Held</span>, <span class="hidden">Actions</span>]}>
            {found.map((each) => (
              <tr key={each.attempt}>
                <td><Id id={each.job_id} /><div class="dim small">call {numberOf(each)}, {each.model}</div></td>
                <td data-name="Called"><Time at={each.sent_at} /></td>
                <td class="wide">{words(each.outcome ?? "nothing")}{each.http_status !== null && <span class="dim"> · HTTP {each.http_status}</span>}{each.inference_id && <div class="dim small break">{each.inference_id}</div>}</td>
                <td class="right" data-name="Held"><Money credits={each.held.credits} /></td>
                <td class="right"><button type="button" onClick={() => setMeant(each)}>Resolve…</button></td>
              </tr>
            ))}
          </Table>
        </>
      )}
      {(cursor || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of unknown charges">
          <button type="button" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>
        </nav>
      )}
      <Dialog title="What did this call cost?" open={meant !== null} close={() => setMeant(null)}>
        {meant && <Resolving of={meant} leave={() => setMeant(null)} done={async () => { setMeant(null); await Promise.all([page.reload(), reload()]); }} />}
      </Dialog>
    </Section>
  );
}

/** Return which call of its job an attempt was: its name ends with it. */
const numberOf = (of: UnknownCharge): number => Number(/(\d+)$/.exec(of.attempt)?.[1] ?? 1);

function Resolving({ of, leave, done }: { of: UnknownCharge; leave: () => void; done: () => Promise<void> }) {
  const [verdict, setVerdict] = useState("charged");
  const [credits, setCredits] = useState(String(of.held.credits));
  async function resolve() {
    const body = verdict === "charged" ? { verdict, credits: Number(credits) } : { verdict };
    await ask(`v1/operator/charges/${of.job_id}/${numberOf(of)}/resolve`, { body });
    say("It is written down.");
    await done();
  }
  return (
    <Form verb="Book it" does={resolve} leave={leave}>
      <p><Id id={of.job_id} /> was called at <Time at={of.sent_at} />; {number(of.held.credits)} credits are held for it. What is said here is booked, and stands in the audit log.</p>
      <label class="field"><span class="label">The provider</span><select value={verdict} onChange={(event) => setVerdict(event.currentTarget.value)}><option value="charged">charged for it</option><option value="free">charged nothing</option></select></label>
      {verdict === "charged" && <label class="field"><span class="label">Credits</span><input type="number" min="0" required value={credits} onInput={(event) => setCredits(event.currentTarget.value)} /></label>}
    </Form>
  );
}
