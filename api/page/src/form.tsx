// Forms that ask before something is made or changed: sent once, however often somebody clicks.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Failure, useOnce } from "./ui";

interface Props {
  verb: string;
  does: () => Promise<unknown>;
  leave: () => void;
  danger?: boolean;
  disabled?: boolean;
  children: ComponentChildren;
}

/** A form with its two ways out; while it is sent it cannot be sent again, and what refused it is shown. */
export function Form({ verb, does, leave, danger, disabled, children }: Props) {
  const [failed, setFailed] = useState<unknown>();
  const [busy, send] = useOnce(async () => {
    setFailed(undefined);
    await does();
  }, setFailed);
  return (
    <form class="fields tall" onSubmit={(event) => { event.preventDefault(); void send(); }}>
      {children}
      <Failure of={failed} />
      <div class="actions">
        <button type="button" class="quiet" onClick={leave}>Leave it</button>
        <button type="submit" class={danger ? "danger" : "main"} disabled={disabled || busy} aria-busy={busy}>{verb}</button>
      </div>
    </form>
  );
}
