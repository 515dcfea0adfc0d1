// Signing in and out, for all tabs of a browser: they have one session, and each shows whose it is.
import { ask, ended, look, Refused, session, type Session } from "./api";

const tabs = new BroadcastChannel("darkroom-session");
const tellTabs = () => tabs.postMessage("changed");

export async function signIn(by: { key: string } | { link: string }): Promise<void> {
  session.value = await ask<Session>("session", { body: by });
  ended.value = "";
  tellTabs();
}

/** End the session, and say so only once the server has ended it. */
export async function signOut(): Promise<void> {
  try {
    await ask("session", { method: "DELETE" });
  } catch (failed) {
    if (!(failed instanceof Refused)) throw failed;
    if (failed.status !== 401) throw new Refused(failed.status, { detail: `Not signed out. ${failed.message}` });
  }
  session.value = null;
  ended.value = "";
  tellTabs();
}

const RENEW = 30 * 60 * 1000;

/** Take a fresh token for the session every half hour; its end stays where it is. */
async function renew(): Promise<void> {
  if (!session.value) return;
  session.value = await ask<Session>("session/renew", { method: "POST" });
  tellTabs();
}

const quietly = (doing: Promise<void>) => doing.catch(() => undefined); // a refusal is shown by what comes after it

/** Keep the session fresh, and its tabs at one: whoever comes back to a tab is who is signed in by then. */
export function keepFresh(): void {
  setInterval(() => void quietly(renew()), RENEW);
  tabs.addEventListener("message", () => void quietly(look()));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && session.value) void quietly(look());
  });
}
