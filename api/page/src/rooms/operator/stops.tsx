// What stops calls: gates that closed by themselves, breakers that may close one, and what an operator has paused.
import { useState } from "preact/hooks";
import { ask } from "../../api";
import { Form } from "../../form";
import { number, words } from "../../format";
import type { InstallationState, Pause } from "../../openapi";
import { Button, Dialog, Id, say, Section, Status, Table, Time } from "../../ui";

interface Props {
  of: InstallationState;
  reload: () => Promise<void>;
}

// Each cause once: one that the API adds is a type error here.
const WHY: Record<Pause["because"], string> = {
  paused: "An operator has paused it",
  suspended: "An operator has suspended the project; reinstate it below",
  deleted: "The project is being deleted",
};
const PROBED = ["wallet_empty", "provider_key", "provider_down"];

export function Stops({ of, reload }: Props) {
  const [pausing, setPausing] = useState(false);
  async function probe(reason: string) {
    const { gates } = await ask<{ gates: number }>("v1/operator/gates/probe", { body: { reason } });
    say(gates ? "The next job tries it." : "It is open already.");
    await reload();
  }
  return (
    <Section title="Gates and pauses" aside={<button type="button" onClick={() => setPausing(true)}>Pause…</button>}>
      {!of.gates.length && !of.pauses.length && <p class="dim">Nothing stops calls. A gate closes by itself when the provider is down, its key is refused or the wallet is empty.</p>}
      {of.gates.length + of.pauses.length > 0 && (
        <Table caption="Gates and pauses" stack head={["What", "State", "Since", "Why", <span class="hidden">Actions</span>]}>
          {of.gates.map((each) => (
            <tr key={each.reason + each.project_id}>
              <td><strong class="capital block">{words(each.reason)}</strong> {each.project_id ? <Id id={each.project_id} /> : <span class="dim small">every project</span>}</td>
              <td><Status of={each.state} /></td>
              <td data-name="Since"><Time at={each.closed_at} /></td>
              <td class="wide">{each.detail} {each.probe && <span class="dim">Tried by <Id id={each.probe} /></span>}</td>
              <td class="right">{PROBED.includes(each.reason) && <Button does={() => probe(each.reason)}>Probe now</Button>}</td>
            </tr>
          ))}
          {of.pauses.map((each) => (
            <tr key={each.scope + each.model + each.project_id}>
              <td><strong class="block break">{each.scope === "all" ? "Everything" : (each.model ?? each.project)}</strong> {each.project_id && <Id id={each.project_id} />}</td>
              <td><Status of={each.because} /></td>
              <td data-name="Since"><Time at={each.paused_at} /></td>
              <td class="wide">{WHY[each.because]}{each.suspended_reason && `: ${each.suspended_reason}`}</td>
              <td class="right">{each.because === "paused" && <Button does={async () => { await resume(each); await reload(); }}>Resume</Button>}</td>
            </tr>
          ))}
        </Table>
      )}
      <p class="dim small under">{of.breakers.map((each) => `${number(each.failures)} of ${number(each.closes_at)} ${each.cause === "errors" ? "answers in a row with an error" : "answers in a row lost"}`).join(", ")}: at either the gate “provider down” closes.</p>
      <Dialog title="Pause" open={pausing} close={() => setPausing(false)}>
        <Pausing leave={() => setPausing(false)} done={async () => { setPausing(false); await reload(); }} />
      </Dialog>
    </Section>
  );
}

async function resume({ scope, model, project_id }: Pause) {
  await ask("v1/operator/resume", { body: { scope, ...(model ? { model } : {}), ...(project_id ? { project_id } : {}) } });
  say("It goes on.");
}

function Pausing({ leave, done }: { leave: () => void; done: () => Promise<void> }) {
  const [scope, setScope] = useState("all");
  const [name, setName] = useState("");
  async function pause() {
    const named = scope === "model" ? { model: name.trim() } : scope === "project" ? { project_id: name.trim() } : {};
    await ask("v1/operator/pause", { body: { scope, ...named } });
    await done();
  }
  return (
    <Form verb="Pause" does={pause} leave={leave}>
      <p>No call begins any more. What is under way ends, jobs are still accepted, and webhooks go on.</p>
      <label class="field"><span class="label">What</span>
        <select value={scope} onChange={(event) => { setScope(event.currentTarget.value); setName(""); }}>
          <option value="all">everything</option><option value="model">a model</option><option value="project">a project</option>
        </select>
      </label>
      {scope !== "all" && <label class="field"><span class="label">{scope === "model" ? "Model" : "Project's id"}</span><input required maxLength={200} value={name} placeholder={scope === "model" ? "bytedance/seedream-5-0-lite-preview" : "prj_…"} onInput={(event) => setName(event.currentTarget.value)} /></label>}
    </Form>
  );
}
