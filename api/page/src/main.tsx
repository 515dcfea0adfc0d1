// The frame: who is signed in, where they are, and the rooms that their key may enter.
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { keepFresh, look, may, session, signOut } from "./api";
import { live } from "./live";
import { href, place } from "./route";
import { JobRoom } from "./rooms/job";
import { JobsRoom } from "./rooms/jobs";
import { KeysRoom } from "./rooms/keys";
import { MoneyRoom } from "./rooms/money";
import { OperatorRoom } from "./rooms/operator/room";
import { PlaygroundRoom } from "./rooms/playground";
import { SignIn } from "./rooms/signin";
import { WebhooksRoom } from "./rooms/webhooks";
import { Button, Empty, Head, Toast } from "./ui";

const ROOMS = [
  { name: "jobs", title: "Jobs", scope: "jobs:read" },
  { name: "playground", title: "Playground", scope: "jobs:read" },
  { name: "webhooks", title: "Webhooks", scope: "webhooks" },
  { name: "money", title: "Money", scope: "usage:read" },
  { name: "keys", title: "Keys", scope: "admin" },
  { name: "operator", title: "Operator", scope: "operator" },
];

/** The room that a key opens first: an operator's opens one alone. */
const home = () => ROOMS.find((each) => may(each.scope))?.name ?? "jobs";

function Room() {
  const at = place.value;
  const begins = !at.room || at.room === "sign-in"; // what stands behind `sign-in` is no id
  const room = begins ? home() : at.room;
  const id = begins ? "" : at.id;
  const known = ROOMS.find((each) => each.name === room);
  if (!known) return <Nothing />;
  if (!may(known.scope)) return <Closed scope={known.scope} title={known.title} />;
  if (room === "jobs") return id ? <JobRoom id={id} key={id} /> : <JobsRoom />;
  if (room === "playground") return <PlaygroundRoom />;
  if (room === "webhooks") return <WebhooksRoom />;
  if (room === "money") return <MoneyRoom />;
  if (room === "operator") return <OperatorRoom />;
  return <KeysRoom />;
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
  const here = place.value.room || home();
  return (
    <nav aria-label="Rooms">
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

function Page() {
  const { room } = place.value;
  useEffect(() => {
    const known = ROOMS.find((each) => each.name === room);
    document.title = known ? `${known.title} · Darkroom` : "Darkroom";
  }, [room]);
  if (session.value === undefined) return null;
  if (session.value === null) return <SignIn />;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <header class="side">
        <Brand />
        <Nav />
        <div class="who">
          {live.value && <span class="live" title="Changes come in as they happen">Live</span>}
          <span class="project">
            <strong>{session.value.project.name}</strong>
            <span class="dim">key {session.value.key.name}</span>
          </span>
          <Button kind="quiet" does={signOut}>
            Sign out
          </Button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Room />
      </main>
      <Toast />
    </div>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

effect(() => {
  void place.value.room;
  window.scrollTo(0, 0);
});
void look()
  .catch(() => {
    session.value = null;
  })
  .then(() => render(<Page />, document.getElementById("page") as HTMLElement));
keepFresh();
