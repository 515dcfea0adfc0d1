// Doing one thing to several jobs: first which of them it concerns, then each in its turn, with its answer.
import { useRef, useState } from "preact/hooks";
import { ask, onceOnly } from "../api";
import { cost, number, plural, promptOf } from "../format";
import type { Job } from "../openapi";
import { Dialog, say, Status, told } from "../ui";

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

export function Sweep({ deed, ...rest }: Props) {
  return deed && <Sweeping deed={deed} {...rest} />;
}

/** What goes on or has ended: of how many jobs it is done, and whether it was told to stop. */
interface Run {
  state: "going" | "stopping" | "over";
  done: number;
  failures: string[];
}

/** Do it to each of some jobs in its turn, until it is told to stop. */
function useSweep(deed: Deed, jobs: Job[], ended: (run: Run, stopped: boolean) => void) {
  const [run, setRun] = useState<Run | null>(null);
  const stopped = useRef(false);
  async function sweep() {
    const failures: string[] = [];
    let done = 0;
    for (const job of jobs) {
      setRun({ state: "going", done, failures: [...failures] });
      try {
        await act(deed, job);
        done += 1;
      } catch (refused) {
        failures.push(`${job.id}: ${told(refused)}`);
      }
      if (stopped.current) break;
    }
    const over: Run = { state: "over", done, failures };
    setRun(over);
    ended(over, stopped.current);
  }
  function stop() {
    stopped.current = true;
    setRun((before) => before && { ...before, state: "stopping" });
  }
  return { run, stopped: stopped.current, sweep, stop };
}

function Sweeping({ deed, jobs, close, done }: Props & { deed: Deed }) {
  const rule = DEEDS[deed];
  const [concerned] = useState(() => jobs.filter(rule.fits)); // what a person has seen, whatever happens meanwhile
  const [left] = useState(jobs.length - concerned.length);
  const outcome = (of: Run) => `Stopped: ${number(of.done)} of ${plural(concerned.length, "job")} ${of.done === 1 ? "was" : "were"} done.`;
  const { run, stopped, sweep, stop } = useSweep(deed, concerned, (over, wasStopped) => {
    done();
    if (wasStopped) say(outcome(over));
    else if (!over.failures.length) close();
  });
  const goesOn = run !== null && run.state !== "over";
  return (
    <Dialog title={rule.title} open close={() => { stop(); close(); }}>
      <p>{rule.warns(concerned)}</p>
      {left > 0 && <p class="dim">{plural(left, "of the chosen jobs is", "of the chosen jobs are")} left out: they {rule.not}.</p>}
      <ul class="plain preview">
        {concerned.map((job) => (
          <li key={job.id}><Status of={job.status} /> <span class="ellipsis" dir="auto">{promptOf(job)}</span></li>
        ))}
      </ul>
      {run && <progress max={concerned.length} value={run.done + run.failures.length} aria-label="Progress" />}
      <p role="status">{run?.state === "stopping" ? "Stopping, once the present job has its answer…" : run?.state === "over" && stopped ? outcome(run) : ""}</p>
      {run && run.failures.length > 0 && <ul class="note bad">{run.failures.map((each) => <li key={each}>{each}</li>)}</ul>}
      <div class="actions">
        {goesOn
          ? <button type="button" disabled={run.state === "stopping"} onClick={stop}>Stop</button>
          : <button type="button" class="quiet" onClick={close}>{run ? "Close" : "Leave it"}</button>}
        <button type="button" class={deed === "retry" ? "main" : "danger"} disabled={!concerned.length || run !== null} onClick={sweep}>
          {rule.verb} {plural(concerned.length, "job")}
        </button>
      </div>
    </Dialog>
  );
}
