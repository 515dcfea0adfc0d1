// Webhooks: who is told what, how that went, and what was missed.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { curl } from "../format";
import type { Endpoint, EndpointList, EndpointWithSecret, Replay, TestDelivery } from "../openapi";
import { href, place } from "../route";
import { Button, Code, Dialog, Empty, Failure, Head, Id, say, Status, Table, Time, useLoaded } from "../ui";
import { Deliveries } from "./deliveries";
import { EndpointForm } from "./endpointform";
import { Health, HealthLine } from "./health";
import { Latency } from "./latency";

const FIRST = `-H 'Content-Type: application/json' \\
  -d '{"url": "https://example.com/hooks/darkroom"}'`;

export function WebhooksRoom() {
  const { id } = place.value;
  return id ? <One id={id} key={id} /> : <All />;
}

function All() {
  const endpoints = useLoaded<EndpointList>((signal) => ask("v1/webhooks", { signal }), []);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<EndpointWithSecret | null>(null);
  const found = endpoints.value?.data ?? [];
  return (
    <>
      <Head title="Webhooks" lead="Endpoints are told what happens: signed, at least once, every try on record.">
        <button type="button" class="main" onClick={() => setMaking(true)}>New endpoint</button>
      </Head>
      <Failure of={endpoints.failed} />
      {endpoints.value && !found.length && (
        <Empty title="No endpoint yet">
          <p>Register the URL of your backend, and it is called when a job ends. A job may also name a URL of its own.</p>
          <Code text={curl("v1/webhooks", FIRST)} />
        </Empty>
      )}
      {found.length > 0 && (
        <Table caption="Endpoints" stack head={["Endpoint", "State", "Last 24 hours", "Events", "Created"]}>
          {found.map((each) => (
            <tr key={each.id}>
              <td class="wide"><a class="prompt break" href={href("webhooks", each.id)}>{each.url}</a><Id id={each.id} /> <span class="dim">{each.description}</span></td>
              <td><State of={each} /></td>
              <td data-name="Last 24 hours"><HealthLine id={each.id} /></td>
              <td><div class="tags">{each.events.map((event) => <span key={event} class="tag">{event}</span>)}</div></td>
              <td data-name="Created"><Time at={each.created_at} /></td>
            </tr>
          ))}
        </Table>
      )}
      <Dialog title="New endpoint" open={making} close={() => setMaking(false)}>
        <EndpointForm leave={() => setMaking(false)} done={async (endpoint) => { setMaking(false); setMade(endpoint); await endpoints.reload(); }} />
      </Dialog>
      <Secret of={made?.secret ?? null} close={() => setMade(null)} />
    </>
  );
}

function State({ of }: { of: Endpoint }) {
  if (!of.enabled) return <><Status of="disabled" /><div class="dim small">{of.disabled_reason ?? "by hand"} <Time at={of.disabled_at} /></div></>;
  if (of.failing_since) return <><Status of="failing" /><div class="dim small">since <Time at={of.failing_since} /></div></>;
  return <Status of="enabled" />;
}

function Secret({ of, close }: { of: string | null; close: () => void }) {
  return (
    <Dialog title="The secret, this once" open={of !== null} close={close}>
      <p>Your receiver checks signatures with it. It is never shown again; for 24 hours after a rotation the one before is good too.</p>
      <Code text={of ?? ""} what="Secret" wrap />
      <div class="actions"><button type="button" class="main" onClick={close}>I have it</button></div>
    </Dialog>
  );
}

function One({ id }: { id: string }) {
  const endpoint = useLoaded<Endpoint>((signal) => ask(`v1/webhooks/${id}`, { signal }), [id]);
  const [tested, setTested] = useState<TestDelivery | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const [deleting, setDeleting] = useState(false);
  const [seen, setSeen] = useState(0);
  const of = endpoint.value;
  const crumb = <p class="crumb"><a href={href("webhooks")}>Webhooks</a></p>;
  if (!of) return <>{crumb}<Head title="Endpoint" /><Failure of={endpoint.failed} /></>;
  async function test() {
    setTested(null);
    setTested(await ask(`v1/webhooks/${id}/test`, { body: {} }));
    setSeen((before) => before + 1);
  }
  async function replay() {
    let total = 0;
    for (let cursor: string | null = null, more = true; more; ) {
      const done: Replay = await ask(`v1/webhooks/${id}/replay`, { body: cursor ? { cursor } : {} });
      total += done.replayed;
      cursor = done.next_cursor;
      more = done.has_more;
    }
    say(total ? `${total} deliveries are sent again.` : "Nothing had failed or was held.");
    setSeen((before) => before + 1);
  }
  return (
    <>
      {crumb}
      <Head title={<span class="break">{of.url}</span>} name={of.url} lead={<><State of={of} /> <Id id={of.id} whole /></>}>
        <Button does={test}>Send a test</Button>
        <Button does={replay}>Send again what failed</Button>
        <Button does={async () => setSecret((await ask<EndpointWithSecret>(`v1/webhooks/${id}/rotate`, { body: {} })).secret)}>Rotate secret</Button>
        <Button does={async () => { await ask(`v1/webhooks/${id}`, { method: "PATCH", body: { enabled: !of.enabled } }); await endpoint.reload(); }}>{of.enabled ? "Disable" : "Enable"}</Button>
        <Button kind="danger" does={() => setDeleting(true)}>Delete…</Button>
      </Head>
      {tested && <div class={tested.state === "delivered" ? "note good" : "note bad"} role="status"><p>{tested.message}</p></div>}
      <Health id={id} key={`health${seen}`} />
      <Latency of={`v1/webhooks/${id}/deliveries`} key={`latency${seen}`} />
      <Deliveries of={`v1/webhooks/${id}/deliveries`} key={`deliveries${seen}`} />
      <Secret of={secret} close={() => setSecret(null)} />
      <Dialog title="Delete this endpoint" open={deleting} close={() => setDeleting(false)}>
        <p>What is pending for it is not sent any more. Its deliveries stay on record with their jobs.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setDeleting(false)}>Leave it</button>
          <Button kind="danger" does={async () => { await ask(`v1/webhooks/${id}`, { method: "DELETE" }); location.hash = href("webhooks"); }}>Delete</Button>
        </div>
      </Dialog>
    </>
  );
}
