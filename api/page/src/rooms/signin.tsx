// Signing in: by a link that works once, or by an API key that is sent once and kept nowhere here.
import { useLayoutEffect, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { ended, session } from "../api";
import { place, replace } from "../route";
import { signIn } from "../session";
import { Code, Failure, say } from "../ui";

/** A link is being used up: also by somebody who is signed in, and will be somebody else. */
export const arriving = signal(false);

export function SignIn() {
  const { room, id } = place.value;
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>();

  async function enter(by: { key: string } | { link: string }) {
    setBusy(true);
    setFailed(undefined);
    try {
      await signIn(by);
    } catch (refused) {
      setFailed(refused);
      if (session.value) say(refused instanceof Error ? refused.message : String(refused)); // who was signed in goes on
    } finally {
      setBusy(false);
    }
  }

  useLayoutEffect(() => {
    if (room !== "sign-in" || !id) return;
    arriving.value = true;
    replace("#/"); // the token leaves the address before anything else happens: later, somebody may be elsewhere
    void enter({ link: id }).finally(() => { arriving.value = false; });
  }, [room, id]);

  return (
    <main class="gate">
      <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
        <circle cx="16" cy="16" r="13" />
        <circle cx="16" cy="16" r="5" />
      </svg>
      <h1>Darkroom</h1>
      <p class="lead">Durable jobs for paid image calls.</p>
      {ended.value && <div class="note bad" role="alert"><p>{ended.value}</p></div>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void enter({ key: key.trim() }).then(() => setKey(""));
        }}
      >
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          spellcheck={false}
          placeholder="dr_live_…"
          required
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        <button type="submit" class="main" disabled={busy} aria-busy={busy}>
          Sign in
        </button>
        <Failure of={failed} />
      </form>
      <p class="dim">
        The key is sent once and kept nowhere in this browser. A session lasts eight hours and may do what the key may. On your own
        machine, <code>make up</code> prints a link that signs in, and the key lies here:
      </p>
      <Code text="cat .darkroom/api-key" />
    </main>
  );
}
