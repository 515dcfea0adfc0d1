// What became of a job, in sentences that support and finance can pass on.
import { between, cost, plural, span } from "../format";
import type { Job } from "../openapi";

export function story(job: Job): string {
  return [ending(job), charge(job), job.erased_at ? "Its input and picture were erased since." : ""].filter(Boolean).join(" ");
}

function ending(job: Job): string {
  const took = job.finished_at ? span(between(job.created_at, job.finished_at)) : "";
  const calls = plural(job.attempts.length, "call");
  switch (job.status) {
    case "queued":
      return "It is accepted, and waits for its turn.";
    case "running":
      return `A call is under way${job.started_at ? `, since ${span(between(job.started_at, null))}` : ""}.`;
    case "succeeded":
      return job.reused_from ? "It took the picture of an identical job, and paid nothing for it." : `The picture was there ${took} after acceptance, by ${calls}.`;
    case "failed":
      return `It failed after ${took} and ${calls}: ${job.error?.message ?? "no reason was given"}${/[.!?]$/.test(job.error?.message ?? "") ? "" : "."} ${job.error?.retryable ? "Running it again may help." : "Running it again as it is will not help."}`;
    case "canceled":
      return job.has_image ? "It was canceled too late: the call was made, and its picture is kept." : "It was canceled.";
    default:
      return job.expired_by === "deadline" ? "It expired: it could not have ended by its deadline." : "It expired: its turn did not come in the time that it was given to wait.";
  }
}

function charge(job: Job): string {
  const { charged, adjusted, unknown } = job.cost;
  const corrected = adjusted ? ` The provider corrected ${cost(adjusted)} of that later.` : "";
  if (job.charged === "unknown") return `${charged ? `It cost ${cost(charged)} so far. ` : ""}What a lost answer cost is not known yet; ${cost(unknown)} is held until it is.`;
  if (job.status === "queued" || job.status === "running") return `${cost(job.cost.held)} is held for it.`;
  return charged ? `It cost ${cost(charged)}.${corrected}` : `Nothing was charged.${corrected}`;
}
