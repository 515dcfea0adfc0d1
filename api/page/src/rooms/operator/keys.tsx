// The keys of all projects, and operators' own: whose each is, when it was last used, and ending it.
import { useState } from "preact/hooks";
import { ask, query, session } from "../../api";
import type { OperatedKey, OperatedKeyPage } from "../../openapi";
import { place, refine } from "../../route";
import { Button, Dialog, Failure, Id, Section, Table, Time, useLoaded } from "../../ui";
import { over, State } from "../keys";

export function EveryKey() {
  const at = place.value.query;
  const [cursor, setCursor] = useState<string>();
  const [ending, setEnding] = useState<OperatedKey | null>(null);
  const page = useLoaded<OperatedKeyPage>((signal) => ask(`v1/operator/keys${query({ project: at.keys, limit: 20, cursor })}`, { signal }), [at.keys, cursor]);
  const found = page.value?.data ?? [];
  const only = (project: string | undefined) => { setCursor(undefined); refine({ keys: project }, true); };
  async function revoke() {
    await ask(`v1/operator/keys/${ending?.id}`, { method: "DELETE" });
    setEnding(null);
    await page.reload();
  }
  return (
    <Section title="Keys of all projects" id="keys" aside={
      <div class="line">
        {at.keys && <><Id id={at.keys} /><button type="button" class="quiet" onClick={() => only(undefined)}>Every project</button></>}
        <Button does={page.reload}>Refresh</Button>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">{at.keys ? "This project has no key: “New key…” beside it makes one." : "No key is here."}</p>}
      {found.length > 0 && (
        <Table caption="Keys of all projects" stack head={["Key", "Project", "Scopes", "State", "Last used", "Created", <span class="hidden">Actions</span>]}>
          {found.map((each) => (
            <tr key={each.id}>
              <td><strong>{each.name || "without a name"}</strong>{each.id === session.value?.key.id && <> <span class="tag">this session</span></>} <Id id={each.id} /><div class="dim small"><code>{each.hint}</code></div></td>
              <td>{each.project_id ? <button type="button" class="quiet link" onClick={() => only(each.project_id ?? undefined)}>{each.project}</button> : <span class="dim">operator</span>}</td>
              <td><div class="tags">{each.scopes.map((scope) => <span key={scope} class="tag">{scope}</span>)}</div></td>
              <td><State of={each} /></td>
              <td data-name="Last used">{each.last_used_at ? <Time at={each.last_used_at} /> : <span class="dim">never</span>}</td>
              <td data-name="Created"><Time at={each.created_at} /></td>
              <td class="right">{!over(each) && <div class="actions"><button type="button" class="danger" onClick={() => setEnding(each)}>Revoke…</button></div>}</td>
            </tr>
          ))}
        </Table>
      )}
      {(cursor || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of keys">
          <button type="button" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>
        </nav>
      )}
      <Dialog title={`Revoke ${ending?.name}`} open={ending !== null} close={() => setEnding(null)}>
        <p>{ending?.project ? <>It is a key of {ending.project}.</> : <>It is an operator's key.</>} Within five seconds nobody gets in with it{ending?.id === session.value?.key.id ? ": this session ends, too" : ""}. It cannot be brought back.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setEnding(null)}>Leave it</button>
          <Button kind="danger" does={revoke}>Revoke</Button>
        </div>
      </Dialog>
    </Section>
  );
}
