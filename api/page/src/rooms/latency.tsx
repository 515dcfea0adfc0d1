// How the last deliveries went: one bar for each try, as high as it took long. The table below has the same.
import { ask } from "../api";
import type { DeliveryPage } from "../openapi";
import { Bars } from "../chart";
import { Section, useLoaded } from "../ui";

export function Latency({ of }: { of: string }) {
  const page = useLoaded<DeliveryPage>((signal) => ask(`${of}?limit=100`, { signal }), [of]);
  const tries = (page.value?.data ?? []).flatMap((each) => each.tries.map((one) => ({ ...one, good: one.http_status !== null && one.http_status < 300 })));
  tries.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  if (tries.length < 2) return null;
  const good = tries.filter((each) => each.good);
  const sorted = good.map((each) => each.latency_ms).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  return (
    <Section title="Lately" aside={<span class="dim">{Math.round((100 * good.length) / tries.length)} % of {tries.length} tries succeeded{median === undefined ? "" : `, half of them within ${median} ms`}</span>}>
      <Bars
        label="Milliseconds of each of the last tries"
        of={tries.slice(-100).map((each) => ({ name: each.at, value: each.latency_ms, kind: each.good ? "good" : "bad", title: `${each.http_status ?? each.result}, ${each.latency_ms} ms` }))}
        written={(value) => `${Math.round(value)} ms`}
      />
    </Section>
  );
}
