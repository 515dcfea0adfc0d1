// The audit log: who changed what, from where, and what it was before.
import { ask, query } from "../../api";
import { words } from "../../format";
import type { AuditEntry, AuditPage } from "../../openapi";
import { isId, place, refine } from "../../route";
import { Failure, Id, None, Section, Table, Time, useLoaded } from "../../ui";

// Each action once: one that the API adds is a type error here.
const EVERY: Record<AuditEntry["action"], 1> = {
  "project.created": 1, "project.renamed": 1, "project.limits_changed": 1, "project.alias_changed": 1, "project.suspended": 1,
  "project.reinstated": 1, "project.deleted": 1, "project.emptied": 1, "project.secret_rotated": 1, "key.created": 1,
  "key.rotated": 1, "key.revoked": 1, "session.opened": 1, "session.ended": 1, "budget.changed": 1,
  "budget.deleted": 1, "webhook.created": 1, "webhook.changed": 1, "webhook.secret_rotated": 1, "webhook.disabled": 1,
  "webhook.deleted": 1, "pause.began": 1, "pause.ended": 1, "gate.probed": 1, "charge.resolved": 1,
  "job.erased": 1, "action.requested": 1, "action.canceled": 1, "erasure.requested": 1, "erasure.completed": 1,
  "secrets.resealed": 1, "model.allowed": 1, "file.deleted": 1,
};
const ACTIONS = Object.keys(EVERY);

export function Audit() {
  const at = place.value.query;
  const asked = query({ action: at.action, project: at.project, limit: 20, cursor: at.entry });
  const page = useLoaded<AuditPage>((signal) => ask(`v1/operator/audit${asked}`, { signal }), [asked]);
  const found = page.value?.data ?? [];
  return (
    <Section title="Audit log" aside={
      <div class="line">
        {at.project && <><Id id={at.project} /><button type="button" class="quiet" onClick={() => refine({ project: undefined, entry: undefined }, true)}>Every project</button></>}
        <label><span class="hidden">Action</span>
          <select value={at.action ?? ""} onChange={(event) => refine({ action: event.currentTarget.value, entry: undefined }, true)}>
            <option value="">Every action</option>{ACTIONS.map((each) => <option key={each} value={each}>{said(each)}</option>)}
          </select>
        </label>
        <button type="button" onClick={() => void page.reload()}>Refresh</button>
      </div>}>
      <Failure of={page.failed} />
      {page.value && !found.length && <p class="dim">No change is like that.</p>}
      {found.length > 0 && (
        <Table caption="Audit log" stack head={["When", "Who", "Did", "To", "What changed"]}>
          {found.map((each) => (
            <tr key={each.id}>
              <td><Time at={each.at} /></td>
              <td><strong>{each.actor.name ?? each.actor.type}</strong><div class="dim small">{[each.actor.name ? each.actor.type : "", each.actor.address ?? ""].filter(Boolean).join(", ")}</div></td>
              <td>{said(each.action)}</td>
              <td class="break small">{isId(each.subject) ? <Id id={each.subject} /> : each.subject}{each.project_id && each.project_id !== each.subject && each.project_id !== at.project && <div><a class="dim" href="#" onClick={(event) => { event.preventDefault(); refine({ project: each.project_id ?? "", entry: undefined }, true); }}>of its project</a></div>}</td>
              <td class="wide small"><Difference of={each} /></td>
            </tr>
          ))}
        </Table>
      )}
      {(at.entry || page.value?.has_more) && (
        <nav class="paging" aria-label="Pages of the audit log">
          <button type="button" disabled={!at.entry} onClick={() => refine({ entry: undefined }, true)}>Newest</button>
          <button type="button" disabled={!page.value?.has_more} onClick={() => refine({ entry: page.value?.next_cursor ?? undefined }, true)}>Older</button>
        </nav>
      )}
    </Section>
  );
}

const said = (action: string): string => words(action.replace(".", " "));
const written = (value: unknown): string => (value === undefined || value === null ? "none" : typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : JSON.stringify(value));

function Difference({ of }: { of: AuditEntry }) {
  const before = of.before ?? {};
  const after = of.after ?? {};
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  if (!names.length) return <None />;
  return (
    <>
      {names.map((name) => (
        <div key={name} class="break"><span class="dim">{words(name)}</span> {of.before && <>{written(before[name])} <span class="dim" aria-label="to">→</span> </>}{written(after[name])}</div>
      ))}
    </>
  );
}
