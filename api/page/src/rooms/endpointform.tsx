// Registering an endpoint.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { Form } from "../form";
import type { EndpointWithSecret } from "../openapi";

const USUAL = ["job.succeeded", "job.failed", "job.canceled", "job.expired"];
const EVENTS = [...USUAL, "job.running", "job.charge_resolved", "budget.threshold", "webhook.disabled"];

interface Props {
  leave: () => void;
  done: (made: EndpointWithSecret) => Promise<void>;
}

export function EndpointForm({ leave, done }: Props) {
  const [url, setUrl] = useState("");
  const [description, setDescription] = useState("");
  const [events, setEvents] = useState<string[]>(USUAL);
  return (
    <Form verb="Register" does={async () => done(await ask("v1/webhooks", { body: { url, description, events } }))} leave={leave} disabled={!events.length}>
      <label class="field"><span class="label">URL</span><input type="url" required value={url} placeholder="https://example.com/hooks/darkroom" onInput={(event) => setUrl(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Description</span><input maxLength={256} value={description} onInput={(event) => setDescription(event.currentTarget.value)} /></label>
      <fieldset>
        <legend>Events</legend>
        {EVENTS.map((each) => (
          <label key={each} class="check">
            <input type="checkbox" checked={events.includes(each)} onChange={(event) => setEvents(event.currentTarget.checked ? [...events, each] : events.filter((other) => other !== each))} />
            <code>{each}</code>
          </label>
        ))}
      </fieldset>
    </Form>
  );
}
