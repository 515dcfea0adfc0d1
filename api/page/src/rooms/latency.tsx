// How the last deliveries went: one bar for each try, as high as it took long, in the order of their time.
import { ask } from "../api";
import { Bars } from "../chart";
import { moment, number, words } from "../format";
import type { DeliveryPage } from "../openapi";
import { Section, Table, Time, useLoaded } from "../ui";

const SHOWN = 100;
const MARKS = 3; // as many as a narrow screen has room for, and none in its last quarter

export function Latency({ of }: { of: string }) {
  const page = useLoaded<DeliveryPage>((signal) => ask(`${of}?limit=100`, { signal }), [of]);
  const every = (page.value?.data ?? []).flatMap((each) => each.tries.map((one) => ({ ...one, good: one.http_status !== null && one.http_status < 300 })));
  const tries = every.sort((a, b) => Date.parse(a.at) - Date.parse(b.at)).slice(-SHOWN);
  if (tries.length < 2) return null;
  const good = tries.filter((each) => each.good);
  const sorted = good.map((each) => each.latency_ms).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const step = Math.ceil(tries.length / MARKS);
  const came = (each: (typeof tries)[number]) => String(each.http_status ?? words(each.result));
  return (
    <Section title="The last tries" aside={<span class="dim small">{Math.round((100 * good.length) / tries.length)} % of the last {tries.length} tries succeeded{median === undefined ? "" : `, half of them within ${number(median)} ms`}</span>}>
      <Bars
        label="Milliseconds of each of the last tries"
        of={tries.map((each) => ({ name: each.at, value: each.latency_ms, kind: each.good ? "good" : "bad", title: `${moment(each.at)}: ${came(each)}, ${number(each.latency_ms)} ms` }))}
        written={(value) => `${number(value)} ms`}
        marks={(at, index) => (index % step === 0 && 4 * (tries.length - index) >= tries.length ? moment(at) : "")}
      />
      <details class="aside">
        <summary>The same as a table</summary>
        <Table caption="The last tries" head={["When", "Answer", <span class="right">Milliseconds</span>]}>
          {[...tries].reverse().map((each, index) => (
            <tr key={index}>
              <td><Time at={each.at} /></td>
              <td>{came(each)}</td>
              <td class="right">{number(each.latency_ms)}</td>
            </tr>
          ))}
        </Table>
      </details>
    </Section>
  );
}
