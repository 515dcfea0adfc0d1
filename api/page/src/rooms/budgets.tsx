// Budgets: how much of each is spent and held now.
import { useState } from "preact/hooks";
import { ask, may } from "../api";
import { Form } from "../form";
import { CREDITS_PER_USD, curl, dollars, titled } from "../format";
import type { ApiKeyList, Budget, BudgetList } from "../openapi";
import { Button, Code, Dialog, Empty, Failure, Money, Section, Time, useLoaded } from "../ui";

const FIRST = `-X PUT -H 'Content-Type: application/json' \\
  -d '{"scope": "project", "window": "month",
       "mode": "hard", "limit": ${10 * CREDITS_PER_USD}}'`;
const SUMS = ["left", "spent", "held", "limit"] as const;

export function Budgets() {
  const budgets = useLoaded<BudgetList>((signal) => ask("v1/budgets", { signal }), []);
  const [making, setMaking] = useState(false);
  const [ending, setEnding] = useState<Budget | null>(null);
  const found = budgets.value?.data ?? [];
  async function remove() {
    await ask(`v1/budgets/${ending?.id}`, { method: "DELETE" });
    setEnding(null);
    await budgets.reload();
  }
  return (
    <Section title="Budgets" aside={may("admin") && <button type="button" onClick={() => setMaking(true)}>New budget</button>}>
      <Failure of={budgets.failed} />
      {budgets.value && !found.length && (
        <Empty title="No budget yet">
          <p>Nothing bounds what may be spent. A hard budget refuses a job before it costs anything{may("admin") ? "; this one allows ten dollars a month:" : "."}</p>
          {may("admin") ? <Code text={curl("v1/budgets", FIRST)} /> : <p class="dim">A key with the scope <code>admin</code> sets one.</p>}
        </Empty>
      )}
      <ul class="budgets">{found.map((each) => <li key={each.id}><Gauge of={each} remove={may("admin") ? () => setEnding(each) : undefined} /></li>)}</ul>
      <Dialog title="New budget" open={making} close={() => setMaking(false)}>
        <Making found={found} leave={() => setMaking(false)} done={async () => { setMaking(false); await budgets.reload(); }} />
      </Dialog>
      <Dialog title="Delete this budget" open={ending !== null} close={() => setEnding(null)}>
        {ending && <p>{whose(ending)}, {dollars(ending.limit)} {period(ending)}: without it nothing of that kind bounds what may be spent. What was spent stays in the ledger.</p>}
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setEnding(null)}>Leave it</button>
          <Button kind="danger" does={remove}>Delete</Button>
        </div>
      </Dialog>
    </Section>
  );
}

const whose = (of: Budget): string => (of.scope === "project" ? "The project" : of.scope === "customer" ? `Customer ${of.customer}` : `Key ${of.key_id}`);
const period = (of: Budget): string => (of.window === "total" ? "in all" : `each ${of.window}`);

export function Gauge({ of, remove }: { of: Budget; remove?: (() => void) | undefined }) {
  const share = (value: number) => (of.limit ? Math.min(100, (100 * value) / of.limit) : 100);
  return (
    <div class="gauge" data-full={of.left <= 0 ? "" : undefined}>
      <div class="bar"><strong>{whose(of)}</strong><span class="dim">{of.mode}, {period(of)}
        {remove && <> <button type="button" class="quiet" aria-label={`Delete the budget of ${whose(of)}`} onClick={remove}>Delete…</button></>}</span></div>
      <div class="track" role="img" aria-label={`${Math.round(share(of.spent + of.held))} % used`}>
        <svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width={share(of.spent)} height="1" class="spent" /><rect x={share(of.spent)} width={Math.min(share(of.held), 100 - share(of.spent))} height="1" class="held" /></svg>
      </div>
      <dl class="sums">
        {SUMS.map((each) => <div key={each}><dt>{titled(each)}</dt><dd><Money credits={of[each]} stacked /></dd></div>)}
      </dl>
      {of.window_ends_at && <p class="dim small">Begins anew <Time at={of.window_ends_at} /></p>}
    </div>
  );
}

function Making({ found, leave, done }: { found: Budget[]; leave: () => void; done: () => Promise<void> }) {
  const [usd, setUsd] = useState("");
  const [window, setWindow] = useState("month");
  const [mode, setMode] = useState("hard");
  const [customer, setCustomer] = useState("");
  const [key, setKey] = useState("");
  const keys = useLoaded<ApiKeyList>((signal) => ask("v1/keys", { signal }), []);
  const bound = customer ? { scope: "customer", customer } : key ? { scope: "key", key_id: key } : { scope: "project" };
  const before = found.find((one) => one.window === window && Object.entries(bound).every(([name, value]) => one[name as keyof Budget] === value));
  async function make() {
    const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    await ask("v1/budgets", { method: "PUT", body: { ...bound, window, mode, timezone, limit: Math.round(Number(usd) * CREDITS_PER_USD) } });
    await done();
  }
  return (
    <Form verb="Set" does={make} leave={leave}>
      <label class="field"><span class="label">US dollars</span><input type="number" min="0" step="any" required value={usd} onInput={(event) => setUsd(event.currentTarget.value)} /></label>
      <label class="field"><span class="label">Each</span><select value={window} onChange={(event) => setWindow(event.currentTarget.value)}><option>day</option><option>month</option><option value="total">in all</option></select></label>
      <label class="field"><span class="label">When it is used up</span><select value={mode} onChange={(event) => setMode(event.currentTarget.value)}><option value="hard">refuse jobs</option><option value="soft">tell webhooks</option></select></label>
      <label class="field"><span class="label">Key</span>
        <select value={key} disabled={Boolean(customer)} onChange={(event) => setKey(event.currentTarget.value)}>
          <option value="">the whole project</option>
          {keys.value?.data.filter((each) => !each.revoked_at).map((each) => <option key={each.id} value={each.id}>{each.name} ({each.hint})</option>)}
        </select>
      </label>
      <label class="field"><span class="label">Or a customer</span><input value={customer} onInput={(event) => setCustomer(event.currentTarget.value.trim())} /></label>
      <p role="status">{before && `It replaces the one of ${dollars(before.limit)} ${period(before)}.`}</p>
    </Form>
  );
}
