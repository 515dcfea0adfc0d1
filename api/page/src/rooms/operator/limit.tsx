// The provider's limit over time: what it admits, and the most that was used of it.
import { useCallback } from "preact/hooks";
import { ask, query } from "../../api";
import { Levels } from "../../chart";
import { fully } from "../../format";
import { usePolling } from "../../live";
import type { LimitHistory } from "../../openapi";
import { pick, place, refine } from "../../route";
import { Failure, Section, Table, useLoaded } from "../../ui";

const HOUR = 3_600_000;
const PERIODS: Record<string, number> = { "3 hours": 3 * HOUR, "24 hours": 24 * HOUR, "7 days": 168 * HOUR };
const BARS = 96;
const MARKS = 6;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit" });

interface Step {
  name: string;
  at: number;
  used: number | null;
  most: number | null;
  title: string;
}

/** Gather the minutes into as many steps as can be told apart: of each its last limit, and the most in flight. */
function steps(of: LimitHistory, from: number, length: number): Step[] {
  const made: Step[] = Array.from({ length: BARS }, (_, index) => {
    const at = from + (index * length) / BARS;
    return { name: String(index), at, used: null, most: null, title: `${fully(new Date(at).toISOString())}: nothing known` };
  });
  for (const each of of.data) {
    const step = made[Math.min(BARS - 1, Math.floor(((Date.parse(each.at) - from) / length) * BARS))];
    if (!step) continue;
    step.used = Math.max(step.used ?? 0, each.in_flight);
    step.most = each.calls;
    step.title = `${fully(new Date(step.at).toISOString())}: up to ${step.used} of ${step.most} calls in flight`;
  }
  return made;
}

export function LimitOverTime() {
  const chosen = place.value.query.over ?? "3 hours";
  const length = pick(PERIODS, chosen) ?? 3 * HOUR;
  const history = useLoaded<{ of: LimitHistory; from: number }>(async (signal) => {
    const from = Date.now() - length;
    return { of: await ask(`v1/operator/limit${query({ from: new Date(from).toISOString() })}`, { signal }), from };
  }, [length]);
  const look = useCallback(() => void history.reload(), [history.reload]);
  usePolling(look);
  const made = history.value ? steps(history.value.of, history.value.from, length) : [];
  const known = made.filter((each) => each.most !== null);
  const written = length > 24 * HOUR ? day : clock;
  return (
    <Section title="The provider's limit" aside={
      <div class="switch" role="group" aria-label="Over">
        {Object.keys(PERIODS).map((each) => <button key={each} type="button" aria-pressed={chosen === each} onClick={() => refine({ over: each }, true)}>{each}</button>)}
      </div>}>
      <Failure of={history.failed} />
      {history.value && !known.length && <p class="dim">Nothing is known of this time: a dispatcher keeps a sample each minute.</p>}
      {known.length > 0 && (
        <>
          <Levels of={made} label="Calls in flight, below the limit" marks={(index) => (index % (BARS / MARKS) === 0 ? written.format(made[index]?.at) : "")} />
          <details class="aside">
            <summary>The same as a table</summary>
            <Table caption="Limit over time" head={["From", <span class="right">Most in flight</span>, <span class="right">Limit</span>]}>
              {[...known].reverse().map((each) => (
                <tr key={each.name}>
                  <td>{fully(new Date(each.at).toISOString())}</td>
                  <td class="right">{each.used}</td>
                  <td class="right">{each.most}</td>
                </tr>
              ))}
            </Table>
          </details>
        </>
      )}
    </Section>
  );
}
