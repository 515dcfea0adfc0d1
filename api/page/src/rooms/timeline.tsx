// A job's life from top to bottom: accepted, each paid call with its outcome and its money, the end.
import type { ComponentChildren } from "preact";
import { between, span, words } from "../format";
import type { Attempt, Job } from "../openapi";
import { Copy, Money, Time } from "../ui";

const OUTCOMES: Record<string, string> = {
  image: "brought the picture",
  try_later: "was told to try later",
  unusable: "brought nothing usable",
  refused: "was refused",
  parked: "was put off",
  unknown: "lost its answer",
};

export function Timeline({ job }: { job: Job }) {
  const first = job.attempts[0];
  return (
    <ol class="timeline">
      <Moment at={job.created_at} kind="accepted">
        <strong>Accepted</strong>
        {first && <div class="dim">waited {span(between(job.created_at, first.sent_at))} for its first call</div>}
      </Moment>
      {job.attempts.map((each) => <Call key={each.number} of={each} />)}
      {job.cancel && <Moment at={job.cancel.requested_at} kind="canceled"><strong>Cancel asked for</strong><div class="dim">{words(job.cancel.outcome)}</div></Moment>}
      {job.finished_at ? (
        <Moment at={job.finished_at} kind={job.status}>
          <strong class="capital block">{job.status}</strong>
          <div class="dim">{span(between(job.created_at, job.finished_at))} after acceptance</div>
        </Moment>
      ) : (
        <Moment at={null} kind={job.status}><strong class="capital block">{job.waiting_reason ? `waits: ${words(job.waiting_reason)}` : job.status}</strong></Moment>
      )}
    </ol>
  );
}

function Call({ of }: { of: Attempt }) {
  return (
    <Moment at={of.sent_at} kind={of.outcome === "image" ? "succeeded" : of.outcome === null ? "running" : of.outcome === "unknown" ? "expired" : "failed"}>
      <div class="call">
        <div>
          <strong>Call {of.number}</strong> {of.outcome ? OUTCOMES[of.outcome] : "is under way"}
          {of.error && <div class="reason">{of.error.message} <code>{of.error.code}</code></div>}
          <div class="dim small line">
            <span>{of.finished_at ? `took ${span(between(of.sent_at, of.finished_at))}` : "…"}</span>
            {of.http_status && <span>HTTP {of.http_status}</span>}
            {of.inference_id && <span>provider's id <code class="break">{of.inference_id}</code> <Copy text={of.inference_id} what="Provider's id" /></span>}
          </div>
        </div>
        <div class="right"><Charge of={of} /></div>
      </div>
    </Moment>
  );
}

function Charge({ of }: { of: Attempt }) {
  if (of.outcome === null) return <span class="dim">not known yet</span>;
  if (of.charge.state === "settled") return <Money credits={of.charge.credits ?? 0} stacked />;
  if (of.charge.state === "unknown") return <span class="warn">charge unknown</span>;
  return <span class="dim">free</span>;
}

function Moment({ at, kind, children }: { at: string | null; kind: string; children?: ComponentChildren }) {
  return (
    <li data-status={kind}>
      <span class="when">{at ? <Time at={at} /> : "now"}</span>
      <div class="what">{children}</div>
    </li>
  );
}
