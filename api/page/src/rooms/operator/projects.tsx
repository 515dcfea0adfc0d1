// Projects: how much each has waiting and in flight, what bounds it, and stopping one.
import { useCallback, useState } from "preact/hooks";
import { ask, query } from "../../api";
import { number } from "../../format";
import { usePolling } from "../../live";
import type { OperatedProject, OperatedProjectPage } from "../../openapi";
import { Button, Dialog, Failure, Id, say, Section, Status, Table, Time, useLoaded } from "../../ui";

type Deed = "caps" | "suspend";

export function Projects() {
  const [cursor, setCursor] = useState<string>();
  const page = useLoaded<OperatedProjectPage>((signal) => ask(`v1/operator/projects${query({ limit: 50, cursor })}`, { signal }), [cursor]);
  const look = useCallback(() => void page.reload(), [page.reload]);
  usePolling(look);
  const [meant, setMeant] = useState<{ project: OperatedProject; deed: Deed } | null>(null);
  const found = page.value?.data ?? [];
  async function done() {
    setMeant(null);
    await page.reload();
  }
  return (
    <Section title="Projects">
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">None yet. <code>POST /v1/operator/projects</code> makes one.</p>}
      {found.length > 0 && (
        <Table caption="Projects" head={["Project", "State", <span class="right">Waiting</span>, <span class="right">In flight</span>, "Caps", <span class="hidden">Actions</span>]}>
          {found.map((each) => <Row key={each.id} of={each} reload={page.reload} means={(deed) => setMeant({ project: each, deed })} />)}
        </Table>
      )}
      {(cursor || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of projects">
          <button type="button" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>
        </nav>
      )}
      <Dialog title={`Caps of ${meant?.project.name}`} open={meant?.deed === "caps"} close={() => setMeant(null)}>
        {meant && <Caps of={meant.project} leave={() => setMeant(null)} done={done} />}
      </Dialog>
      <Dialog title={`Suspend ${meant?.project.name}`} open={meant?.deed === "suspend"} close={() => setMeant(null)}>
        {meant && <Suspending of={meant.project} leave={() => setMeant(null)} done={done} />}
      </Dialog>
    </Section>
  );
}

function Row({ of, reload, means }: { of: OperatedProject; reload: () => Promise<void>; means: (deed: Deed) => void }) {
  const stop = { scope: "project", project_id: of.id };
  async function act(path: string, body: object, told: string) {
    await ask(path, { body });
    say(told);
    await reload();
  }
  const at = `v1/operator/projects/${of.id}`;
  const stands = of.status === "active" && of.paused ? "paused" : of.status;
  return (
    <tr>
      <td><strong class="block">{of.name}</strong> <Id id={of.id} /></td>
      <td><Status of={stands} />{of.suspended_reason && <div class="dim small">{of.suspended_reason}, <Time at={of.suspended_at} /></div>}</td>
      <td class="right">{number(of.jobs.queued)}</td>
      <td class="right">{number(of.jobs.in_flight)}</td>
      <td>{of.in_flight_cap === null ? <span class="dim">the provider's limit</span> : `${number(of.in_flight_cap)} in flight`}<div class="dim small">{number(of.concurrency_key_cap)} of a concurrency key</div></td>
      <td class="right">
        <div class="actions">
          {of.status === "active" && (
            <>
              <button type="button" onClick={() => means("caps")}>Caps…</button>
              {of.paused
                ? <Button does={() => act("v1/operator/resume", stop, "It goes on.")}>Resume</Button>
                : <Button does={() => act("v1/operator/pause", stop, "No call of it begins.")}>Pause</Button>}
              <button type="button" class="danger" onClick={() => means("suspend")}>Suspend…</button>
            </>
          )}
          {of.status === "suspended" && <Button does={() => act(`${at}/reinstate`, {}, "It is reinstated.")}>Reinstate</Button>}
        </div>
      </td>
    </tr>
  );
}

interface Form {
  of: OperatedProject;
  leave: () => void;
  done: () => Promise<void>;
}

function Caps({ of, leave, done }: Form) {
  const [most, setMost] = useState(of.in_flight_cap === null ? "" : String(of.in_flight_cap));
  const [perKey, setPerKey] = useState(String(of.concurrency_key_cap));
  const [failed, setFailed] = useState<unknown>();
  async function change() {
    const body = { in_flight_cap: most === "" ? null : Number(most), concurrency_key_cap: Number(perKey) };
    try {
      await ask(`v1/operator/projects/${of.id}`, { method: "PATCH", body });
      await done();
    } catch (refused) {
      setFailed(refused);
    }
  }
  return (
    <form class="fields tall" onSubmit={(event) => { event.preventDefault(); void change(); }}>
      <label class="field"><span class="label">Jobs in flight at once <span class="dim">empty: the provider's limit alone</span></span><input type="number" min="1" max="1000000" value={most} onInput={(event) => setMost(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Of these with one concurrency key</span><input type="number" min="1" max="1000000" required value={perKey} onInput={(event) => setPerKey(event.currentTarget.value)} /></label>
      <p class="hint">What is in flight goes on.</p>
      <Failure of={failed} />
      <div class="actions"><button type="button" class="quiet" onClick={leave}>Leave it</button><button type="submit" class="main">Set</button></div>
    </form>
  );
}

function Suspending({ of, leave, done }: Form) {
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
