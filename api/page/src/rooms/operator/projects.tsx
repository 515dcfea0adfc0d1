// Projects: how much each has waiting and in flight, what bounds it; making one, stopping one, and its end.
import { useCallback, useState } from "preact/hooks";
import { ask, query } from "../../api";
import { number, plural } from "../../format";
import { usePolling } from "../../live";
import type { ApiKeyWithSecret, OperatedProject, OperatedProjectPage } from "../../openapi";
import { refine } from "../../route";
import { Button, Dialog, Failure, Id, say, Section, Status, Table, Time, useLoaded } from "../../ui";
import { KeyForm, KeyOnce } from "../keys";
import { Deleting, ProjectForm, Suspending } from "./projectforms";

type Deed = "change" | "key" | "suspend" | "delete";

const TITLES: Record<Deed, string> = { change: "Change", key: "New key of", suspend: "Suspend", delete: "Delete" };

export function Projects() {
  const [cursor, setCursor] = useState<string>();
  const [deleted, setDeleted] = useState(false);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<ApiKeyWithSecret | null>(null);
  const page = useLoaded<OperatedProjectPage>((signal) => ask(`v1/operator/projects${query({ limit: 50, cursor, deleted: deleted ? "true" : "" })}`, { signal }), [cursor, deleted]);
  const look = useCallback(() => void page.reload(), [page.reload]);
  usePolling(look);
  const [meant, setMeant] = useState<{ project: OperatedProject; deed: Deed } | null>(null);
  const found = page.value?.data ?? [];
  async function done() {
    setMeant(null);
    await page.reload();
  }
  return (
    <Section title="Projects" aside={
      <div class="line">
        <label class="check"><input type="checkbox" checked={deleted} onChange={(event) => { setCursor(undefined); setDeleted(event.currentTarget.checked); }} /> Deleted ones, too</label>
        <button type="button" onClick={() => setMaking(true)}>New project…</button>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">None yet. A project has keys, jobs, budgets and webhooks of its own.</p>}
      {found.length > 0 && (
        <Table caption="Projects" stack head={["Project", "State", <span class="right">Waiting</span>, <span class="right">In flight</span>, <span class="right">Keys</span>, "Caps", <span class="hidden">Actions</span>]}>
          {found.map((each) => <Row key={each.id} of={each} reload={page.reload} means={(deed) => setMeant({ project: each, deed })} />)}
        </Table>
      )}
      {(cursor || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of projects">
          <button type="button" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>
        </nav>
      )}
      <Dialog title="New project" open={making} close={() => setMaking(false)}>
        {making && <ProjectForm leave={() => setMaking(false)} done={async () => { setMaking(false); say("It is there. Make a key of it for who is to use it."); await page.reload(); }} />}
      </Dialog>
      <Dialog title={meant ? `${TITLES[meant.deed]} ${meant.project.name}` : ""} open={meant !== null} close={() => setMeant(null)}>
        {meant?.deed === "change" && <ProjectForm of={meant.project} leave={() => setMeant(null)} done={done} />}
        {meant?.deed === "key" && <KeyForm path={`v1/operator/projects/${meant.project.id}/keys`} leave={() => setMeant(null)} made={async (key) => { setMade(key); await done(); }} />}
        {meant?.deed === "suspend" && <Suspending of={meant.project} leave={() => setMeant(null)} done={done} />}
        {meant?.deed === "delete" && <Deleting of={meant.project} leave={() => setMeant(null)} done={done} />}
      </Dialog>
      <KeyOnce of={made} close={() => setMade(null)} />
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
      <td><Status of={stands} />{of.deleted_at && <div class="dim small">since <Time at={of.deleted_at} /></div>}{of.suspended_reason && <div class="dim small">{of.suspended_reason}, <Time at={of.suspended_at} /></div>}</td>
      <td class="right" data-name="Waiting">{number(of.jobs.queued)}</td>
      <td class="right" data-name="In flight">{number(of.jobs.in_flight)}</td>
      <td class="right" data-name="Keys"><button type="button" class="quiet link" aria-label={`${plural(of.keys, "key")} of ${of.name}`} onClick={() => { refine({ keys: of.id }, true); document.getElementById("keys")?.scrollIntoView({ block: "start" }); }}>{number(of.keys)}</button></td>
      <td data-name="Caps">{of.in_flight_cap === null ? <span class="dim">the provider's limit</span> : `${number(of.in_flight_cap)} in flight`}<div class="dim small">{number(of.concurrency_key_cap)} of a concurrency key</div></td>
      <td class="right">
        <div class="actions">
          {of.status === "active" && (
            <>
              <button type="button" onClick={() => means("change")}>Change…</button>
              <button type="button" onClick={() => means("key")}>New key…</button>
              {of.paused
                ? <Button does={() => act("v1/operator/resume", stop, "It goes on.")}>Resume</Button>
                : <Button does={() => act("v1/operator/pause", stop, "No call of it begins.")}>Pause</Button>}
              <button type="button" class="danger" onClick={() => means("suspend")}>Suspend…</button>
            </>
          )}
          {of.status === "suspended" && <Button does={() => act(`${at}/reinstate`, {}, "It is reinstated.")}>Reinstate</Button>}
          {(of.status === "active" || of.status === "suspended") && <button type="button" class="danger" onClick={() => means("delete")}>Delete…</button>}
        </div>
      </td>
    </tr>
  );
}
