// How an endpoint has answered in the last 24 hours: what share of its tries succeeded, and how long those took.
import { ask } from "../api";
import { hour, number, plural } from "../format";
import type { EndpointHealth } from "../openapi";
import { None, Section, Table, useLoaded } from "../ui";

type Answers = Pick<EndpointHealth, "tries" | "succeeded" | "median_ms" | "p95_ms">;
type Hour = EndpointHealth["hours"][number];

const useHealth = (id: string) => useLoaded<EndpointHealth>((signal) => ask(`v1/webhooks/${id}/health`, { signal }), [id]).value;

/** Write the share that succeeded: 100 % is said of all of them, and 0 % of none. */
function share(of: Answers): string {
  const part = (100 * of.succeeded) / of.tries;
  return `${part === 0 || part === 100 ? part : Math.min(99.9, Math.max(0.1, part)).toFixed(1)} %`;
}

const took = (ms: number | null) => (ms === null ? <None /> : `${number(ms)} ms`);

function told(of: Answers): string {
  if (!of.tries) return "nothing was sent";
  return `${share(of)} of ${plural(of.tries, "try", "tries")} succeeded${of.median_ms === null ? "" : `, half of them within ${number(of.median_ms)} ms`}`;
}

/** Hours side by side, each as bars above one another. */
function Strip({ of, tall, label, bars }: { of: Hour[]; tall: number; label: string; bars: (each: Hour) => { kind?: string; value: number }[] }) {
  const top = Math.max(1, ...of.map((each) => bars(each).reduce((sum, bar) => sum + bar.value, 0)));
  const width = 100 / of.length;
  return (
    <svg class="plot" viewBox={`0 0 100 ${tall}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <line x1="0" x2="100" y1={tall - 0.5} y2={tall - 0.5} />
      {of.map((each, index) => {
        let y = tall;
        return (
          <g key={each.at}>
            {bars(each).map(({ kind, value }) => {
              const height = value && Math.max(2, (value / top) * (tall - 2));
              y -= height;
              return height > 0 && <rect data-kind={kind} x={(index + 0.14) * width} width={width * 0.72} y={y} height={height} />;
            })}
            <rect class="over" x={index * width} width={width} y="0" height={tall}><title>{`${hour(each.at)}: ${told(each)}`}</title></rect>
          </g>
        );
      })}
    </svg>
  );
}

const tries = (each: Hour) => [{ kind: "good", value: each.succeeded }, { kind: "bad", value: each.tries - each.succeeded }];
const latency = (each: Hour) => [{ value: each.median_ms ?? 0 }];

export function HealthLine({ id }: { id: string }) {
  const of = useHealth(id);
  if (!of) return <div class="health" />;
  if (!of.tries) return <span class="dim">nothing was sent</span>;
  return (
    <div class="health">
      <span>{share(of)}</span><Strip of={of.hours} tall={20} label={`Hour by hour: ${told(of)}`} bars={tries} />
      {of.median_ms !== null && <><span class="dim">{took(of.median_ms)}</span><Strip of={of.hours} tall={20} label="Hour by hour: what half of them took at most" bars={latency} /></>}
    </div>
  );
}

export function Health({ id }: { id: string }) {
  const of = useHealth(id);
  if (!of?.tries) return null;
  return (
    <Section title="The last 24 hours" aside={<span class="dim small">{told(of)}</span>}>
      <div class="flow">
        <div class="lane"><span class="name">Succeeded</span><span class="pace">{share(of)}</span><Strip of={of.hours} tall={48} label="Tries of each hour" bars={tries} /></div>
        {of.median_ms !== null && <div class="lane"><span class="name">Half within</span><span class="pace">{took(of.median_ms)}</span><Strip of={of.hours} tall={48} label="Milliseconds that half of them took at most" bars={latency} /></div>}
        <div class="marks" aria-hidden="true">{of.hours.map((each, index) => <span key={each.at}>{index % 6 === 0 ? hour(each.at) : ""}</span>)}</div>
      </div>
      <details class="aside">
        <summary>The same as a table</summary>
        <Table caption="Hour by hour" head={["Hour", ...["Tries", "Succeeded", "Half within", "95 % within"].map((each) => <span class="right">{each}</span>)]}>
          {of.hours.filter((each) => each.tries).reverse().map((each) => (
            <tr key={each.at}>
              <td class="nowrap">{hour(each.at)}</td>
              <td class="right">{number(each.tries)}</td>
              <td class="right">{share(each)}</td>
              <td class="right">{took(each.median_ms)}</td>
              <td class="right">{took(each.p95_ms)}</td>
            </tr>
          ))}
        </Table>
      </details>
      <p class="dim small under">By the hour in which an event came; of each hour the last 50 deliveries.</p>
    </Section>
  );
}
