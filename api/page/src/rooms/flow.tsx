// The last hour as it went by: three rows of minutes, in one scale, from acceptance to the end.
import { number } from "../format";
import type { Now } from "../openapi";
import { Section, Table } from "../ui";

type Minute = Now["flow"][number];

const HEIGHT = 48;
const LATELY = 5; // minutes that a pace is told of, without the one that is going on
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const ended = (of: Minute) => of.succeeded + of.failed + of.canceled + of.expired;
const bad = (of: Minute) => of.failed + of.expired;
const ROWS = [
  { name: "Accepted", of: (each: Minute) => each.accepted },
  { name: "Started", of: (each: Minute) => each.started },
  { name: "Done", of: ended },
];

export function Flow({ of }: { of: Minute[] }) {
  const top = Math.max(1, ...of.flatMap((minute) => ROWS.map((row) => row.of(minute))));
  const lately = of.slice(-1 - LATELY, -1);
  return (
    <Section title="The last hour" aside={<span class="dim small">jobs per minute, a mean of the last five</span>}>
      <div class="flow">
        {ROWS.map((row) => (
          <div class="lane" key={row.name}>
            <span class="name">{row.name}</span>
            <span class="pace">{pace(lately.reduce((sum, each) => sum + row.of(each), 0) / Math.max(lately.length, 1))}</span>
            <Lane of={of} row={row} top={top} />
          </div>
        ))}
        <div class="marks few" aria-hidden="true">{of.map((each, index) => <span key={each.at}>{index % 10 === 0 ? clock.format(new Date(each.at)) : ""}</span>)}</div>
      </div>
      <details class="aside">
        <summary>The same as a table</summary>
        <Table caption="The last hour, by the minute" head={["Minute", ...["Accepted", "Started", "Succeeded", "Failed", "Canceled", "Expired"].map((each) => <span class="right">{each}</span>)]}>
          {[...of].reverse().map((each) => (
            <tr key={each.at}>
              <td>{clock.format(new Date(each.at))}{each.at_least && <span class="dim"> or more</span>}</td>
              {[each.accepted, each.started, each.succeeded, each.failed, each.canceled, each.expired].map((count, index) => <td class="right" key={index}>{number(count)}</td>)}
            </tr>
          ))}
        </Table>
      </details>
    </Section>
  );
}

const pace = (of: number) => (of >= 10 || of === 0 ? number(Math.round(of)) : of.toFixed(1));

function Lane({ of, row, top }: { of: Minute[]; row: (typeof ROWS)[number]; top: number }) {
  const width = 100 / of.length;
  const height = (value: number) => (value ? Math.max(1.5, (value / top) * HEIGHT) : 0);
  const bar = (index: number, from: number, tall: number, kind?: string) => tall > 0 && <rect data-kind={kind} x={index * width + width * 0.14} width={width * 0.72} y={from - tall} height={tall} />;
  return (
    <svg class="plot" viewBox={`0 0 100 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${row.name}, by the minute`}>
      <line x1="0" x2="100" y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
      {of.map((each, index) => {
        const whole = height(row.of(each));
        const wrong = row.name === "Done" ? Math.min(whole, height(bad(each))) : 0;
        return (
          <g key={each.at}>
            {bar(index, HEIGHT, whole - wrong, row.name === "Done" ? "good" : row.name === "Accepted" ? "idle" : undefined)}
            {bar(index, HEIGHT - whole + wrong, wrong, "bad")}
            <rect class="over" x={index * width} width={width} y="0" height={HEIGHT}><title>{`${clock.format(new Date(each.at))}: ${number(row.of(each))}${each.at_least ? " or more" : ""}${wrong ? `, ${number(bad(each))} failed or expired` : ""}`}</title></rect>
          </g>
        );
      })}
    </svg>
  );
}
