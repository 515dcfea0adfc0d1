// What is asked of an operator who makes, changes, suspends or deletes a project.
import { useState } from "preact/hooks";
import { ask } from "../../api";
import { Form } from "../../form";
import type { OperatedProject } from "../../openapi";
import { say } from "../../ui";

interface Leaving {
  leave: () => void;
  done: () => Promise<void>;
}
type Form = { of: OperatedProject } & Leaving;

/** A new project, or another name or other bounds for one. */
export function ProjectForm({ of, leave, done }: { of?: OperatedProject } & Leaving) {
  const [name, setName] = useState(of?.name ?? "");
  const [most, setMost] = useState(String(of?.in_flight_cap ?? ""));
  const [perKey, setPerKey] = useState(String(of?.concurrency_key_cap ?? ""));
  const [once, setOnce] = useState(of?.idempotency_required ?? false);
  async function send() {
    const limits = { in_flight_cap: most === "" ? null : Number(most), ...(perKey === "" ? {} : { concurrency_key_cap: Number(perKey) }), idempotency_required: once };
    const body = { ...(name.trim() === of?.name ? {} : { name: name.trim() }), ...limits };
    await ask(of ? `v1/operator/projects/${of.id}` : "v1/operator/projects", { method: of ? "PATCH" : "POST", body });
    await done();
  }
  return (
    <Form verb={of ? "Set" : "Create"} does={send} leave={leave}>
      <label class="field"><span class="label">Name</span><input required maxLength={128} value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Jobs in flight at once <span class="dim">empty: the provider's limit alone</span></span><input type="number" min="1" max="1000000" value={most} onInput={(event) => setMost(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Of these with one concurrency key {!of && <span class="dim">empty: as every project</span>}</span><input type="number" min="1" max="1000000" required={Boolean(of)} value={perKey} onInput={(event) => setPerKey(event.currentTarget.value)} /></label>
      <label class="check"><input type="checkbox" checked={once} onChange={(event) => setOnce(event.currentTarget.checked)} /> <span>Refuse requests without <code>Idempotency-Key</code></span></label>
      {of && <p class="hint">What is in flight goes on.</p>}
    </Form>
  );
}

export function Suspending({ of, leave, done }: Form) {
  const [reason, setReason] = useState("");
  async function suspend() {
    await ask(`v1/operator/projects/${of.id}/suspend`, { body: { reason: reason.trim() } });
    await done();
  }
  return (
    <Form verb="Suspend" does={suspend} leave={leave}>
      <p>Within five seconds none of its jobs is accepted any more, and no call begins for it. It may still read. Reinstating it lets everything go on.</p>
      <label class="field"><span class="label">Why <span class="dim">its owner may be told</span></span><input required maxLength={500} value={reason} onInput={(event) => setReason(event.currentTarget.value)} /></label>
    </Form>
  );
}

/** What cannot be undone is asked for by its name. */
export function Deleting({ of, leave, done }: Form) {
  const [name, setName] = useState("");
  async function remove() {
    await ask(`v1/operator/projects/${of.id}`, { method: "DELETE" });
    say("Its keys have ended; the rest is deleted bit by bit.");
    await done();
  }
  return (
    <Form verb="Delete for good" does={remove} leave={leave} danger disabled={name.trim() !== of.name}>
      <p>Its keys end at once. Its jobs are canceled, and deleted with their pictures once it is known what they cost; its endpoints go, too. Only the lines of the ledger stay, without its name. It cannot be brought back.</p>
      <label class="field"><span class="label">Its name, to be sure</span><input required autocomplete="off" value={name} placeholder={of.name} onInput={(event) => setName(event.currentTarget.value)} /></label>
    </Form>
  );
}
