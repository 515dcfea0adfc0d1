// How far a batch has come: its rows by state, as one bar, which is read aloud by its counts.
import { number } from "../../format";
import type { Batch } from "../../openapi";

const STATES = ["succeeded", "failed", "expired", "canceled", "running", "queued"] as const;

export function Progress({ of, thin }: { of: Batch; thin?: boolean }) {
  const shown = STATES.filter((each) => of.counts[each] > 0);
  let at = 0;
  return (
    <div class={thin ? "progress thin" : "progress"}>
      <svg viewBox={`0 0 ${Math.max(of.total, 1)} 1`} preserveAspectRatio="none" role="img" aria-label={`${of.progress.percent} % done: ${shown.map((each) => `${of.counts[each]} ${each}`).join(", ")}`}>
        {shown.map((each) => {
          const from = at;
          at += of.counts[each];
          return <rect key={each} data-kind={each} x={from} width={of.counts[each]} height="1"><title>{`${number(of.counts[each])} ${each}`}</title></rect>;
        })}
      </svg>
      {thin ? <span class="dim small">{of.progress.percent} %</span> : (
        <ul class="legend">{shown.map((each) => <li key={each} data-kind={each}><strong>{number(of.counts[each])}</strong> {each}</li>)}</ul>
      )}
    </div>
  );
}
