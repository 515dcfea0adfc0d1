// Keys: made (and shown once), rotated with a grace, revoked.
import { useState } from "preact/hooks";
import { ask, session } from "../api";
import { Form } from "../form";
import type { ApiKey, ApiKeyList, ApiKeyWithSecret } from "../openapi";
import { Button, Code, Dialog, Empty, Failure, Head, Id, Status, Table, Time, useLoaded } from "../ui";

const SCOPES: Record<string, string> = {
  "jobs:write": "submit, cancel, run again, erase",
  "jobs:read": "see jobs and pictures",
  webhooks: "endpoints and deliveries",
  "usage:read": "usage, ledger, budgets",
  admin: "everything, and keys",
};
const GRACES = [["at once", 0], ["in an hour", 3600], ["in a day", 86_400], ["in a week", 604_800]] as const;

export function KeysRoom() {
  const keys = useLoaded<ApiKeyList>((signal) => ask("v1/keys", { signal }), []);
  const [making, setMaking] = useState(false);
  const [turning, setTurning] = useState<ApiKey | null>(null);
  const [ending, setEnding] = useState<ApiKey | null>(null);
  const [made, setMade] = useState<ApiKeyWithSecret | null>(null);
  const found = keys.value?.data ?? [];
  async function fresh(key: ApiKeyWithSecret) {
    setMaking(false);
    setTurning(null);
    setMade(key);
    await keys.reload();
  }
  return (
    <>
      <Head title="Keys" lead="Each speaks for the project, as far as its scopes go. Only a hash of it is kept.">
        <button type="button" class="main" onClick={() => setMaking(true)}>New key</button>
      </Head>
      <Failure of={keys.failed} />
      {keys.value && !found.length && <Empty title="No key"><p>Create one; it is shown once.</p></Empty>}
      {found.length > 0 && (
        <Table caption="Keys" stack head={["Name", "Scopes", "State", "Last used", "Created", <span class="hidden">Actions</span>]}>
          {found.map((each) => (
            <tr key={each.id}>
              <td class="wide"><strong>{each.name}</strong>{each.id === session.value?.key.id && <> <span class="tag">this session</span></>} <Id id={each.id} /><div class="dim small"><code>{each.hint}</code></div></td>
              <td><div class="tags">{each.scopes.map((scope) => <span key={scope} class="tag">{scope}</span>)}</div></td>
              <td><State of={each} /></td>
              <td data-name="Last used">{each.last_used_at ? <Time at={each.last_used_at} /> : <span class="dim">never</span>}</td>
              <td data-name="Created"><Time at={each.created_at} /></td>
              <td class="right">{!over(each) && <div class="actions"><button type="button" onClick={() => setTurning(each)}>Rotate…</button><button type="button" class="danger" onClick={() => setEnding(each)}>Revoke…</button></div>}</td>
            </tr>
          ))}
        </Table>
      )}
      <Dialog title="New key" open={making} close={() => setMaking(false)}>
        {making && <KeyForm path="v1/keys" leave={() => setMaking(false)} made={fresh} />}
      </Dialog>
      <Dialog title={`Rotate ${turning?.name}`} open={turning !== null} close={() => setTurning(null)}>
        <p>A fresh key with the same scopes and budgets. The old one ends:</p>
        <div class="actions">
          {GRACES.map(([title, grace]) => (
            <Button key={grace} does={async () => fresh(await ask(`v1/keys/${turning?.id}/rotate`, { body: { grace } }))}>{title}</Button>
          ))}
        </div>
      </Dialog>
      <Dialog title={`Revoke ${ending?.name}`} open={ending !== null} close={() => setEnding(null)}>
        <p>Within five seconds nobody gets in with it, nor by a session that it opened{ending?.id === session.value?.key.id ? ": this one ends, too" : ""}. It cannot be brought back.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setEnding(null)}>Leave it</button>
          <Button kind="danger" does={async () => { await ask(`v1/keys/${ending?.id}`, { method: "DELETE" }); setEnding(null); await keys.reload(); }}>Revoke</Button>
        </div>
      </Dialog>
      <KeyOnce of={made} close={() => setMade(null)} />
    </>
  );
}

export function KeyOnce({ of, close }: { of: ApiKeyWithSecret | null; close: () => void }) {
  return (
    <Dialog title="The key, this once" open={of !== null} close={close}>
      <p>Copy it now: it is never shown again.</p>
      <Code text={of?.key ?? ""} what="Key" wrap />
      <div class="actions"><button type="button" class="main" onClick={close}>I have it</button></div>
    </Dialog>
  );
}

type Ends = Pick<ApiKey, "revoked_at" | "expires_at">;
export const over = (key: Ends) => Boolean(key.revoked_at) || Boolean(key.expires_at && Date.parse(key.expires_at) < Date.now());

export function State({ of }: { of: Ends }) {
  if (of.revoked_at) return <><Status of="revoked" /> <div class="dim small"><Time at={of.revoked_at} /></div></>;
  if (over(of)) return <><Status of="expired" /> <div class="dim small"><Time at={of.expires_at} /></div></>;
  if (of.expires_at) return <><Status of="ending" /> <div class="dim small"><Time at={of.expires_at} /></div></>;
  return <Status of="active" />;
}

export function KeyForm({ path, leave, made }: { path: string; leave: () => void; made: (key: ApiKeyWithSecret) => Promise<void> }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["jobs:write", "jobs:read"]);
  return (
    <Form verb="Create" does={async () => made(await ask(path, { body: { name, scopes } }))} leave={leave} disabled={!scopes.length}>
      <label class="field"><span class="label">Name</span><input required maxLength={128} value={name} placeholder="checkout" onInput={(event) => setName(event.currentTarget.value)} /></label>
      <fieldset>
        <legend>Scopes</legend>
        {Object.entries(SCOPES).map(([scope, does]) => (
          <label key={scope} class="check">
            <input type="checkbox" checked={scopes.includes(scope)} onChange={(event) => setScopes(event.currentTarget.checked ? [...scopes, scope] : scopes.filter((each) => each !== scope))} />
            <span><code>{scope}</code> <span class="dim">{does}</span></span>
          </label>
        ))}
      </fieldset>
    </Form>
  );
}
