// A job's picture, small; or what stands in its place while there is none.
import { useState } from "preact/hooks";
import { between, promptOf, words } from "../format";
import type { Job } from "../openapi";

const DRAWN_AFTER = 5_000; // a thumbnail is drawn right after the job has succeeded
const DRAWN_WITHIN = 60_000; // one that is not there later is gone: it is asked for once

export function Thumbnail({ job, large }: { job: Job; large?: boolean }) {
  const [lost, setLost] = useState(false);
  const isNew = job.finished_at !== null && between(job.finished_at, null) < DRAWN_WITHIN;
  function again() {
    setLost(true);
    if (isNew) setTimeout(() => setLost(false), DRAWN_AFTER);
  }
  const image = job.result?.data[0];
  const shown = image && !job.erased_at && Date.parse(image.expires_at) > Date.now() && !lost;
  if (!shown) return <span class={large ? "blank large" : "blank"} aria-hidden="true">{large && (job.erased_at ? "erased" : job.error ? words(job.error.code) : job.waiting_reason ? words(job.waiting_reason) : image ? (isNew ? "being drawn" : "no preview") : job.status)}</span>;
  return (
    <img
      class={large ? "thumb large" : "thumb"}
      src={`v1/jobs/${job.id}/images/0/thumbnail`}
      alt={large ? promptOf(job) : ""}
      loading="lazy"
      width={image.width}
      height={image.height}
      onError={again}
    />
  );
}
