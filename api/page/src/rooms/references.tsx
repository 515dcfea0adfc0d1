// The pictures that a job was given. Those sent inside the request lie here; a link leads to its own place.
import { bytes } from "../format";
import type { Job } from "../openapi";
import { href } from "../route";

const KEPT = /^data:image\/([a-z]+);sha256=([0-9a-f]{64});length=(\d+)/;

export function References({ job }: { job: Job }) {
  const urls = Array.isArray(job.input?.image_urls) ? (job.input.image_urls as string[]) : [];
  if (!urls.length) return null;
  return (
    <div class="given">
      <h3>{urls.length === 1 ? "Reference" : "References"}</h3>
      <ul class="references">
        {urls.map((url, index) => (
          <li key={index}><Reference url={url} index={index} job={job} /></li>
        ))}
      </ul>
    </div>
  );
}

function Reference({ url, index, job }: { url: string; index: number; job: Job }) {
  const kept = KEPT.exec(url);
  const own = /^(job_[0-9a-z]{26})\//.exec(url);
  if (!kept && (own || !URL.canParse(url))) {
    const what = <><span class="number">{index + 1}</span><span class="ellipsis">{url}</span></>;
    return own ? <a class="reference" href={href("jobs", own[1])} title={url}>{what}</a> : <span class="reference" title={url}>{what}</span>;
  }
  if (!kept) {
    const at = new URL(url);
    return (
      <a class="reference" href={url} target="_blank" rel="noopener noreferrer" title={url}>
        <span class="number">{index + 1}</span>
        <span class="ellipsis">{at.pathname.split("/").pop() || at.host}</span>
        <span class="dim small ellipsis">{at.host} ↗</span>
      </a>
    );
  }
  return (
    <a class="reference" href={`v1/jobs/${job.id}/references/${index}`} target="_blank" rel="noopener">
      <img src={`v1/jobs/${job.id}/references/${index}`} alt={`Reference ${index + 1}`} loading="lazy" />
      <span class="dim small">{kept[1]?.toUpperCase()} · {bytes(Number(kept[3]))}</span>
    </a>
  );
}
