// Pictures that the project keeps under names: sent once, drawn from again and again, deleted.
import { useRef, useState } from "preact/hooks";
import { ask, may } from "../api";
import { bytes } from "../format";
import type { File as Kept, FilePage } from "../openapi";
import { Button, Dialog, Failure, say, useLoaded } from "../ui";

const SHOWN = 24;

interface Props {
  value: string[];
  most: number;
  add: (names: string[]) => void;
  drop: (name: string) => void;
}

export function KeptFiles(props: Props) {
  const [open, setOpen] = useState(false);
  return (
    <details class="kept" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Files that are kept</summary>
      {open && <Shelf {...props} />}
    </details>
  );
}

function Shelf({ value, most, add, drop }: Props) {
  const [cursor, setCursor] = useState<string>();
  const page = useLoaded<FilePage>((signal) => ask(`v1/files?limit=${SHOWN}${cursor ? `&cursor=${cursor}` : ""}`, { signal }), [cursor]);
  const [failed, setFailed] = useState<unknown>();
  const [meant, setMeant] = useState<Kept | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  const found = page.value?.data ?? [];
  async function send(files: FileList | null) {
    setFailed(undefined);
    try {
      const names: string[] = [];
      for (const each of files ?? []) {
        const form = new FormData();
        form.append("file", each);
        names.push((await ask<Kept>("v1/files", { file: form })).id);
      }
      add(names);
    } catch (refused) {
      setFailed(refused);
    }
    setCursor(undefined);
    await page.reload();
  }
  async function remove(id: string) {
    await ask(`v1/files/${id}`, { method: "DELETE" });
    setMeant(null);
    drop(id);
    say("It is deleted.");
    await page.reload();
  }
  return (
    <>
      <Failure of={failed ?? page.failed} />
      {page.value && !found.length && <p class="dim small">None yet. One that is sent once is kept for 30 days after its last use, and drawn from by its name.</p>}
      {found.length > 0 && (
        <ul class="references">
          {found.map((each) => (
            <li key={each.id} class="reference">
              <img src={`v1/files/${each.id}/content`} alt={each.filename} loading="lazy" width={each.width} height={each.height} />
              <span class="ellipsis" title={each.filename}>{each.filename}</span>
              <span class="dim small">{each.width} × {each.height} · {bytes(each.bytes)}</span>
              <span class="line">
                <button type="button" aria-label={`Use ${each.filename}`} disabled={value.length >= most || value.includes(each.id)} onClick={() => add([each.id])}>{value.includes(each.id) ? "Used" : "Use"}</button>
                {may("jobs:write") && <button type="button" class="quiet danger" aria-label={`Delete ${each.filename}`} onClick={() => setMeant(each)}>Delete…</button>}
              </span>
            </li>
          ))}
        </ul>
      )}
      <div class="line">
        {may("jobs:write") && <button type="button" onClick={() => picker.current?.click()}>Keep files</button>}
        {(cursor || page.value?.has_more) && <button type="button" class="quiet" disabled={!cursor} onClick={() => setCursor(undefined)}>Newest</button>}
        {page.value?.has_more && <button type="button" class="quiet" onClick={() => setCursor(page.value?.next_cursor ?? undefined)}>Older</button>}
      </div>
      <input ref={picker} class="hidden" type="file" accept="image/*" multiple tabIndex={-1} aria-label="Files to keep"
        onChange={(event) => { const { files } = event.currentTarget; void send(files); }} />
      <Dialog title="Delete this file" open={meant !== null} close={() => setMeant(null)}>
        <p>{meant?.filename} is gone for requests to come. Jobs that draw from it have its bytes, and go on.</p>
        <div class="actions">
          <button type="button" class="quiet" onClick={() => setMeant(null)}>Leave it</button>
          <Button kind="danger" does={() => remove(meant?.id ?? "")}>Delete</Button>
        </div>
      </Dialog>
    </>
  );
}
