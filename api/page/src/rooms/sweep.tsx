// Doing one thing to several jobs: first which of them it concerns, then each in its turn, with its answer.
import { useEffect, useState } from "preact/hooks";
import { ask, onceOnly } from "../api";
import { cost, plural, promptOf } from "../format";
import type { Job } from "../openapi";
import { Dialog, Status } from "../ui";

export type Deed = "cancel" | "retry" | "erase";

const TERMINAL = ["succeeded", "failed", "canceled", "expired"];
const isOver = (job: Job) => TERMINAL.includes(job.status);
const DEEDS: Record<Deed, { title: string; verb: string; fits: (job: Job) => boolean; not: string; warns: (jobs: Job[]) => string }> = {
  cancel: {
    title: "Cancel jobs",
    verb: "Cancel",
    fits: (job) => !isOver(job) && !job.cancel,
    not: "have ended or are being canceled",
    warns: () => "A call that is under way is not aborted: it may still be charged, and its image is kept.",
  },
  retry: {
    title: "Run jobs again",
    verb: "Run again",
    fits: (job) => isOver(job) && !job.erased_at,
    not: "have not ended, or were erased",
    warns: (jobs) => `Makes new jobs, for ${cost(jobs.reduce((sum, job) => sum + job.cost.estimated, 0))} as a rule.`,
  },
  erase: {
    title: "Erase jobs",
    verb: "Erase",
    fits: (job) => isOver(job) && !job.erased_at,
    not: "have not ended, or were erased before",
    warns: () => "Inputs and images are gone for good. Ids, charges and times stay.",
  },
};

function act(deed: Deed, job: Job): Promise<unknown> {
  if (deed === "erase") return ask(`v1/jobs/${job.id}`, { method: "DELETE" });
  const headers: Record<string, string> = deed === "retry" ? onceOnly() : {};
  return ask(`v1/jobs/${job.id}/${deed}`, { body: {}, headers });
}

interface Props {
  deed: Deed | null;
  jobs: Job[];
  close: () => void;
  done: () => void;
}

export function Sweep({ deed, jobs, close, done }: Props) {
  const [finished, setFinished] = useState<number | null>(null);
  const [failures, setFailures] = useState<string[]>([]);
  useEffect(() => {
    setFinished(null);
    setFailures([]);
  }, [deed]);
  if (!deed) return null;
  const rule = DEEDS[deed];
  const concerned = jobs.filter(rule.fits);
  const left = jobs.length - concerned.length;

  async function run() {
    const failed: string[] = [];
    for (const [index, job] of concerned.entries()) {
      setFinished(index);
      try {
        await act(deed as Deed, job);
      } catch (refused) {
        failed.push(`${job.id}: ${refused instanceof Error ? refused.message : refused}`);
      }
    }
    setFinished(concerned.length);
    setFailures(failed);
    if (!failed.length) {
      done();
      close();
    }
  }

  return (
    <Dialog title={rule.title} open close={() => { if (finished) done(); close(); }}>
      <p>{rule.warns(concerned)}</p>
      {left > 0 && <p class="dim">{plural(left, "of the chosen jobs is", "of the chosen jobs are")} left out: they {rule.not}.</p>}
      <ul class="plain preview">
        {concerned.map((job) => (
          <li key={job.id}><Status of={job.status} /> <span class="ellipsis">{promptOf(job)}</span></li>
        ))}
      </ul>
      {finished !== null && <progress max={concerned.length} value={finished} aria-label="Progress" />}
      {failures.length > 0 && <ul class="note bad">{failures.map((each) => <li key={each}>{each}</li>)}</ul>}
      <div class="actions">
        <button type="button" class="quiet" onClick={close}>{failures.length ? "Close" : "Leave it"}</button>
        <button type="button" class={deed === "retry" ? "main" : "danger"} disabled={!concerned.length || finished !== null} onClick={run}>
          {rule.verb} {plural(concerned.length, "job")}
        </button>
      </div>
    </Dialog>
  );
}
