// One thing done to every job that a filter leaves: looked at first, then followed to its end.
import { useCallback, useState } from "preact/hooks";
import { ask, may, onceOnly } from "../api";
import { cost, number, plural, words } from "../format";
import { usePolling } from "../live";
import type { Action, ActionPage, ActionPreview } from "../openapi";
import { Button, Dialog, Failure, useLoaded } from "../ui";

type Kind = Action["action"];

const KINDS: Record<Kind, { title: string; verb: string; says: (of: ActionPreview) => string }> = {
  cancel: { title: "Cancel", verb: "Cancel", says: (of) => `${of.credits ? `${cost(of.credits)} that is held comes back at once. ` : ""}Calls under way are not aborted: they may still be charged, and their pictures are kept.` },
  retry: { title: "Run again", verb: "Run again", says: (of) => `Makes new jobs of those, for ${cost(of.credits)} as a rule. Without a status, of those that brought no picture.` },
  erase: { title: "Erase", verb: "Erase", says: () => "Inputs and pictures of those that have ended are gone for good. Ids, charges and times stay." },
  redeliver: { title: "Send webhooks again", verb: "Send again for", says: () => "Sends again what failed or is held, to endpoints that take deliveries." },
};
const LATEST = 3;

/** What a filter leaves of the list, as an action takes it: whoever names nothing means all that there is by now. */
function chosen(filter: Record<string, string>): Record<string, unknown> {
  if (!Object.keys(filter).length) return { created_before: new Date().toISOString() };
  return filter;
}

export function AllFound({ filter, asked }: { filter: Record<string, string>; asked: (action: string) => void }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="quiet" onClick={() => setOpen(true)}>Do to all of them…</button>
      <Dialog title={Object.keys(filter).length ? "To every job of this list" : "To every job of the project"} open={open} close={() => setOpen(false)}>
        {open && <Choosing filter={filter} leave={() => setOpen(false)} done={(action) => { setOpen(false); asked(action); }} />}
      </Dialog>
    </>
  );
}

function Choosing({ filter, leave, done }: { filter: Record<string, string>; leave: () => void; done: (action: string) => void }) {
  const [kind, setKind] = useState<Kind>("cancel");
  const [meant] = useState(() => chosen(filter));
  const [intent] = useState(onceOnly);
  const [failed, setFailed] = useState<unknown>();
  const preview = useLoaded<ActionPreview>((signal) => ask("v1/jobs/actions", { body: { action: kind, filter: meant, dry_run: true }, signal }), [kind]);
  const of = preview.value?.action === kind ? preview.value : undefined;
  const kinds = (Object.keys(KINDS) as Kind[]).filter((each) => each !== "redeliver" || may("webhooks"));
  async function run() {
    try {
      const headers = { "idempotency-key": `${kind}-${intent["idempotency-key"]}` };
      done((await ask<Action>("v1/jobs/actions", { body: { action: kind, filter: meant }, headers })).id);
    } catch (refused) {
      setFailed(refused);
    }
  }
  return (
    <>
      {Object.keys(filter).length > 0 && <p class="tags">{Object.entries(filter).map(([name, value]) => <span class="tag" key={name}>{words(name)}: {value}</span>)}</p>}
      <div class="switch" role="group" aria-label="What to do">
        {kinds.map((each) => <button key={each} type="button" aria-pressed={kind === each} onClick={() => setKind(each)}>{KINDS[each].title}</button>)}
      </div>
      <div role="status">
        {!of && !preview.failed && <p class="dim">Counting…</p>}
        {of && <p><strong>{plural(of.count, "job")}</strong> {of.count === 1 ? "fits" : "fit"}. {of.count > 0 && KINDS[kind].says(of)}</p>}
      </div>
      <Failure of={failed ?? preview.failed} />
      <div class="actions">
        <button type="button" class="quiet" onClick={leave}>Leave it</button>
        <Button kind={kind === "retry" || kind === "redeliver" ? "main" : "danger"} disabled={!of?.count} does={run}>{KINDS[kind].verb} {plural(of?.count ?? 0, "job")}</Button>
      </div>
    </>
  );
}

/** Actions that go on, and those that were asked for here: how far each has come, and calling it off. */
export function UnderWay({ asked, done }: { asked: readonly string[]; done: () => void }) {
  const [hidden, hide] = useState<readonly string[]>([]);
  const [going, setGoing] = useState<readonly string[]>(asked);
  const page = useLoaded<ActionPage>(async (signal) => {
    const found = await ask<ActionPage>(`v1/jobs/actions?limit=${LATEST}`, { signal });
    const running = found.data.filter((each) => each.status === "running").map((each) => each.id);
    if (going.length) done();
    setGoing(running);
    return found;
  }, [asked.length]);
  const look = useCallback(() => void page.reload(), [page.reload]);
  usePolling(look);
  const shown = page.value?.data.filter((each) => (each.status === "running" || asked.includes(each.id)) && !hidden.includes(each.id)) ?? [];
  return <>{shown.map((each) => <Going key={each.id} of={each} reload={page.reload} hide={() => hide([...hidden, each.id])} />)}</>;
}

function Going({ of, reload, hide }: { of: Action; reload: () => Promise<void>; hide: () => void }) {
  const seen = of.done + of.skipped + of.failed;
  const running = of.status === "running";
  const told = [`${number(of.done)} done`, of.skipped ? `${number(of.skipped)} fit no more` : "", of.failed ? `${number(of.failed)} failed` : ""].filter(Boolean).join(", ");
  return (
    <div class={of.failed || of.status === "stopped" ? "note bad" : running ? "note" : "note good"} role="status">
      <div class="bar">
        <span><strong>{KINDS[of.action].title}</strong>{of.count !== null && ` of ${plural(of.count, "job")}`}: {told}{!running && `, ${of.status}`}.</span>
        {running ? <Button kind="quiet" does={async () => { await ask(`v1/jobs/actions/${of.id}/cancel`, { body: {} }); await reload(); }}>Call it off</Button> : <button type="button" class="quiet" onClick={hide}>Hide</button>}
      </div>
      {running && of.count !== null && <progress max={Math.max(of.count, 1)} value={seen} aria-label="Progress of the action" />}
      {of.stopped_because && <p>{of.stopped_because.detail}</p>}
      {of.reasons.length > 0 && <ul>{of.reasons.map((each) => <li key={each.code}><code>{each.code}</code> {number(each.count)}: {each.message}</li>)}</ul>}
    </div>
  );
}
