// The whole installation, for who runs it: what needs a person first, then what bounds, what waits, and who changed what.
import { useCallback } from "preact/hooks";
import { ask } from "../../api";
import { number, plural, span, words } from "../../format";
import { usePolling } from "../../live";
import type { InstallationState } from "../../openapi";
import { Button, Failure, Head, Money, Section, Status, Sum, Table, Time, Told, useLoaded } from "../../ui";
import { Audit } from "./audit";
import { Charges } from "./charges";
import { EveryKey } from "./keys";
import { LimitOverTime } from "./limit";
import { Projects } from "./projects";
import { Stops } from "./stops";

export function OperatorRoom() {
  const state = useLoaded<InstallationState>((signal) => ask("v1/operator/state", { signal }), []);
  const look = useCallback(() => void state.reload(), [state.reload]);
  usePolling(look);
  const of = state.value;
  return (
    <>
      <Head title="Operator" lead={of ? <span>Darkroom {of.version}, all projects, as of <Time at={of.at} />.</span> : "Darkroom, all projects"}>
        <Button does={state.reload}>Refresh</Button>
      </Head>
      <Failure of={state.failed} />
      {of && (
        <>
          <Needs of={of} />
          <Figures of={of} />
          <LimitOverTime />
          <Stops of={of} reload={state.reload} />
          <div class="halves broad">
            <Waiting of={of} />
            <Processes of={of} />
          </div>
          <Projects />
          <EveryKey />
          <Charges of={of} reload={state.reload} />
          <Audit />
        </>
      )}
    </>
  );
}

function Needs({ of }: { of: InstallationState }) {
  if (!of.attention.length) return <div class="story" data-status="succeeded"><p>Nothing needs a person.</p></div>;
  return (
    <section class="story" data-status="expired" aria-label="What needs a person">
      <ul class="plain needs">
        {of.attention.map((each) => (
          <li key={each.code}>
            <Told text={each.message} /> <span class="dim small">Runbook: <code>docs/{each.runbook}</code></span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const ago = (seconds: number) => span(seconds * 1000);

function Figures({ of }: { of: InstallationState }) {
  const { limit, queue, wallet, charges, books, webhooks } = of;
  const agree = !books.differences && !books.charges_of_nobody;
  return (
    <dl class="figures eight">
      <div><dt>Paid calls in flight</dt><dd>{number(limit.in_flight)} of {number(limit.calls)}</dd><dd class="dim">{limit.slow_start ? "limit grows fast" : limit.refused_at ? <>refused last <Time at={limit.refused_at} /></> : "never refused"}</dd></div>
      <div><dt>Jobs waiting</dt><dd>{number(queue.queued)}</dd><dd class="dim">{queue.queued ? `the oldest for ${ago(queue.oldest_seconds)}` : "none"}</dd></div>
      <Sum name="Wallet" warn={Boolean(wallet && wallet.state !== "ok")} credits={wallet?.credits ?? null} note={!wallet ? "not read yet" : wallet.ends_at ? <>until <Time at={wallet.ends_at} /></> : ""} />
      <div data-warn={charges.overdue ? "" : undefined}><dt>Unknown charges</dt><dd>{number(charges.unknown)}</dd><dd class="dim">{charges.unknown ? <><Money credits={charges.credits} />, the oldest {ago(charges.oldest_seconds)}</> : "every call accounted for"}</dd></div>
      <div data-warn={agree ? undefined : ""}><dt>Books</dt><dd>{agree ? "agree" : `${number(books.differences + books.charges_of_nobody)} differ`}</dd><dd class="dim">{books.checked_at ? <>checked <Time at={books.checked_at} /></> : "not checked yet"}</dd></div>
      <div><dt>Provider's log</dt><dd>{ago(of.provider_log.lag_seconds)} behind</dd><dd class="dim">{of.provider_log.statement_read_until ? <>ledger read until <Time at={of.provider_log.statement_read_until} /></> : "ledger not read yet"}</dd></div>
      <div data-warn={of.workers.count ? undefined : ""}><dt>Places for calls</dt><dd>{number(of.workers.generate_slots)}</dd><dd class="dim">in {plural(of.workers.count, "worker")}</dd></div>
      <div data-warn={webhooks.overdue_seconds > 60 ? "" : undefined}><dt>Webhooks</dt><dd>{number(webhooks.pending + webhooks.sending)} to send</dd><dd class="dim">{webhooks.endpoints.failing + webhooks.endpoints.disabled ? `${plural(webhooks.endpoints.failing, "endpoint fails", "endpoints fail")}, ${number(webhooks.endpoints.disabled)} disabled` : plural(webhooks.endpoints.working, "endpoint works", "endpoints work")}</dd></div>
    </dl>
  );
}

function Waiting({ of }: { of: InstallationState }) {
  const lines = [...of.queue.waiting].sort((a, b) => b.jobs - a.jobs);
  return (
    <Section title="Waiting" aside={<span class="dim small">{number(of.queue.dispatched)} dispatched, {number(of.queue.running)} running</span>}>
      {!lines.length && <p class="dim">No job waits.</p>}
      {lines.length > 0 && (
        <Table caption="Waiting, by reason" head={["Reason", "Priority", <span class="right">Jobs</span>, <span class="right">Oldest</span>]}>
          {lines.map((each) => (
            <tr key={each.reason + each.priority}>
              <td>{words(each.reason)}</td>
              <td>{each.priority}</td>
              <td class="right">{number(each.jobs)}</td>
              <td class="right">{ago(each.oldest)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Section>
  );
}

function Processes({ of }: { of: InstallationState }) {
  return (
    <Section title="Processes">
      <Table caption="Processes" stack head={["Role", "State", "Version", "Started", "Heard of"]}>
        {of.processes.map((each) => (
          <tr key={each.id}>
            <td><strong>{each.role}</strong> <div class="dim small break">{each.id}</div></td>
            <td><Status of={each.missing ? "missing" : "up"} /></td>
            <td data-name="Version">{each.version}</td>
            <td data-name="Started"><Time at={each.started_at} /></td>
            <td data-name="Heard of"><Time at={each.seen_at} /></td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}
