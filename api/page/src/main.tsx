// The frame: who is signed in, where they are, and the rooms that their key may enter.
import { type ComponentChildren, render } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { look, may, session } from "./api";
import { Boundary } from "./boundary";
import { live, lostSince } from "./live";
import { arrived, href, place } from "./route";
import { BatchRoom } from "./rooms/batches/batch";
import { BatchesRoom } from "./rooms/batches/room";
import { JobRoom } from "./rooms/job";
import { JobsRoom } from "./rooms/jobs";
import { KeysRoom } from "./rooms/keys";
import { MoneyRoom } from "./rooms/money";
import { NowRoom } from "./rooms/now";
import { OperatorRoom } from "./rooms/operator/room";
import { PlaygroundRoom } from "./rooms/playground";
import { arriving, SignIn } from "./rooms/signin";
import { WebhooksRoom } from "./rooms/webhooks";
import { keepFresh, signOut } from "./session";
import { Button, Empty, enter, fresh, Head, loading, Time, Toast, together } from "./ui";

interface Known {
  name: string;
  title: string;
  scope: string;
  shows: (id: string) => ComponentChildren;
}

const ROOMS: Known[] = [
  { name: "now", title: "Now", scope: "jobs:read", shows: () => <NowRoom /> },
  { name: "jobs", title: "Jobs", scope: "jobs:read", shows: (id) => (id ? <JobRoom id={id} key={id} /> : <JobsRoom />) },
  { name: "playground", title: "Playground", scope: "jobs:read", shows: () => <PlaygroundRoom /> },
  { name: "batches", title: "Batches", scope: "jobs:read", shows: (id) => (id ? <BatchRoom id={id} key={id} /> : <BatchesRoom />) },
  { name: "money", title: "Money", scope: "usage:read", shows: () => <MoneyRoom /> },
  { name: "webhooks", title: "Webhooks", scope: "webhooks", shows: () => <WebhooksRoom /> },
  { name: "keys", title: "Keys", scope: "admin", shows: () => <KeysRoom /> },
  { name: "operator", title: "Operator", scope: "operator", shows: () => <OperatorRoom /> },
];

/** The room that a key opens first: an operator's opens one alone. */
const home = () => ROOMS.find((each) => may(each.scope))?.name ?? "now";

function Room() {
  const at = place.value;
  const begins = !at.room || at.room === "sign-in"; // what stands behind `sign-in` is no id
  const room = begins ? home() : at.room;
  const id = begins ? "" : at.id;
  const known = ROOMS.find((each) => each.name === room);
  if (!known) return <Nothing />;
  if (!may(known.scope)) return <Closed scope={known.scope} title={known.title} />;
  return <Boundary key={`${room}/${id}`}>{known.shows(id)}</Boundary>;
}

function Closed({ scope, title }: { scope: string; title: string }) {
  return (
    <>
      <Head title={title} />
      <Empty title="This key does not open this room">
        <p>
          It lacks the scope <code>{scope}</code>. Sign in with a key that has it.
        </p>
      </Empty>
    </>
  );
}

function Nothing() {
  return (
    <>
      <Head title="Nothing here" />
      <Empty title="There is no such page">
        <p>Choose one from the navigation.</p>
      </Empty>
    </>
  );
}

function Nav() {
  const here = ROOMS.some((each) => each.name === place.value.room) ? place.value.room : home();
  const nav = useRef<HTMLElement>(null);
  useEffect(() => {
    const [row, now] = [nav.current, nav.current?.querySelector<HTMLElement>("[aria-current]")];
    if (row && now) row.scrollLeft = now.offsetLeft - (row.clientWidth - now.offsetWidth) / 2; // where it is a row that scrolls
  }, [here]);
  return (
    <nav aria-label="Rooms" ref={nav}>
      {ROOMS.filter((each) => may(each.scope)).map((each) => (
        <a key={each.name} href={href(each.name)} aria-current={here === each.name ? "page" : undefined}>
          {each.title}
        </a>
      ))}
      <a href="docs">API</a>
    </nav>
  );
}

function Brand() {
  return (
    <a class="brand" href={href(home())}>
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <circle cx="16" cy="16" r="13" />
        <circle cx="16" cy="16" r="5" />
      </svg>
      Darkroom
    </a>
  );
}

/** Begin a room at its top with its heading, and show what was left before as it was left. */
function useArrival(room: string, id: string, signedIn: boolean) {
  const { entry, depth } = arrived.value;
  const before = useRef<string>(undefined);
  useEffect(() => {
    const here = signedIn ? `${room}/${id}` : undefined;
    const moved = before.current !== undefined && before.current !== here;
    before.current = here;
    if (moved) document.querySelector<HTMLElement>("#main h1")?.focus({ preventScroll: true });
    if (moved && depth === undefined) window.scrollTo(0, 0);
    if (depth !== undefined) return together(() => window.scrollTo(0, depth));
  }, [entry, room, id, signedIn]);
  useEffect(() => {
    if (!signedIn) document.title = "Darkroom";
  }, [signedIn]);
}

function Page() {
  const { room, id } = place.value;
  const signedIn = Boolean(session.value);
  useLayoutEffect(enter, [room, id, signedIn]);
  useArrival(room, id, signedIn);
  if (session.value === undefined) return null;
  if (session.value === null || arriving.value || (room === "sign-in" && id)) return <SignIn />;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <header class="side">
        <Brand />
        <Nav />
        <div class="who">
          <span class="live" data-live={live.value === null ? undefined : String(live.value)} title={live.value ? "Changes come in as they happen" : undefined}>
            {live.value === false ? "Reconnecting" : "Live"}
          </span>
          <span class="project">
            <strong>{session.value.project.name}</strong>
            <span class="dim">key {session.value.key.name}</span>
          </span>
          <Button kind="quiet" does={signOut}>
            Sign out
          </Button>
        </div>
      </header>
      <main id="main" tabIndex={-1} aria-busy={loading.value > 0}>
        <div class="room" data-fresh={fresh.value ? "" : undefined}>
          <Room />
        </div>
        <p class="zone">{zone === "UTC" ? "Times in UTC." : `Times as in ${zone.replaceAll("_", " ")}; in UTC where you point at them.`}</p>
      </main>
      <Lost />
      <Toast />
    </div>
  );
}

/** What is shown may be old: said while no change comes in, above everything and without moving it. */
function Lost() {
  return (
    <div class="lost" role="status">
      {lostSince.value && <p>Not connected since <Time at={lostSince.value} />: what you see may be older than it looks. Trying again…</p>}
    </div>
  );
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

void look()
  .catch(() => {
    session.value = null;
  })
  .then(() => render(<Page />, document.getElementById("page") as HTMLElement));
keepFresh();
