// What is asked of an operator who makes, changes, suspends or deletes a project.
import { useState } from "preact/hooks";
import { ask } from "../../api";
import type { OperatedProject } from "../../openapi";
import { Failure, say } from "../../ui";

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
  const [failed, setFailed] = useState<unknown>();
  async function send() {
    const limits = { in_flight_cap: most === "" ? null : Number(most), ...(perKey === "" ? {} : { concurrency_key_cap: Number(perKey) }), idempotency_required: once };
    const body = { ...(name.trim() === of?.name ? {} : { name: name.trim() }), ...limits };
    try {
      await ask(of ? `v1/operator/projects/${of.id}` : "v1/operator/projects", { method: of ? "PATCH" : "POST", body });
      await done();
    } catch (refused) {
      setFailed(refused);
    }
  }
  return (
    <form class="fields tall" onSubmit={(event) => { event.preventDefault(); void send(); }}>
      <label class="field"><span class="label">Name</span><input required maxLength={128} value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Jobs in flight at once <span class="dim">empty: the provider's limit alone</span></span><input type="number" min="1" max="1000000" value={most} onInput={(event) => setMost(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Of these with one concurrency key {!of && <span class="dim">empty: as every project</span>}</span><input type="number" min="1" max="1000000" required={Boolean(of)} value={perKey} onInput={(event) => setPerKey(event.currentTarget.value)} /></label>
      <label class="check"><input type="checkbox" checked={once} onChange={(event) => setOnce(event.currentTarget.checked)} /> <span>Refuse requests without <code>Idempotency-Key</code></span></label>
      {of && <p class="hint">What is in flight goes on.</p>}
      <Failure of={failed} />
      <div class="actions"><button type="button" class="quiet" onClick={leave}>Leave it</button><button type="submit" class="main">{of ? "Set" : "Create"}</button></div>
    </form>
  );
}

export function Suspending({ of, leave, done }: Form) {
  const [reason, setReason] = useState("");
  const [failed, setFailed] = useState<unknown>();
  async function suspend() {
    try {
      await ask(`v1/operator/projects/${of.id}/suspend`, { body: { reason: reason.trim() } });
      await done();
    } catch (refused) {
      setFailed(refused);
    }
  }
  return (
    <form class="fields tall" onSubmit={(event) => { event.preventDefault(); void suspend(); }}>
      <p>Within five seconds none of its jobs is accepted any more, and no call begins for it. It may still read. Reinstating it lets everything go on.</p>
      <label class="field"><span class="label">Why <span class="dim">its owner may be told</span></span><input required maxLength={500} value={reason} onInput={(event) => setReason(event.currentTarget.value)} /></label>
      <Failure of={failed} />
      <div class="actions"><button type="button" class="quiet" onClick={leave}>Leave it</button><button type="submit" class="main">Suspend</button></div>
    </form>
  );
}

/** What cannot be undone is asked for by its name. */
export function Deleting({ of, leave, done }: Form) {
  const [name, setName] = useState("");
  const [failed, setFailed] = useState<unknown>();
  async function remove() {
    try {
      await ask(`v1/operator/projects/${of.id}`, { method: "DELETE" });
      say("Its keys have ended; the rest is deleted bit by bit.");
      await done();
    } catch (refused) {
      setFailed(refused);
    }
  }
  return (
    <form class="fields tall" onSubmit={(event) => { event.preventDefault(); void remove(); }}>
      <p>Its keys end at once. Its jobs are canceled, and deleted with their pictures once it is known what they cost; its endpoints go, too. Only the lines of the ledger stay, without its name. It cannot be brought back.</p>
      <label class="field"><span class="label">Its name, to be sure</span><input required autocomplete="off" value={name} placeholder={of.name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <Failure of={failed} />
      <div class="actions"><button type="button" class="quiet" onClick={leave}>Leave it</button><button type="submit" class="danger" disabled={name.trim() !== of.name}>Delete for good</button></div>
    </form>
  );
}
