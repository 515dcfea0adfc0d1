// A list of a model's own, from its JSON Schema: a row for each thing, with what belongs to it; a colour is picked.
import { titled, words } from "../format";
import type { Rule } from "./field";

type Thing = Record<string, unknown>;

interface Props {
  id: string;
  name: string;
  described: string;
  rule: Rule;
  value: unknown;
  change: (value: unknown) => void;
}

const LIGHTS = ["r", "g", "b"];
const isColour = (parts: string[]) => parts.length === LIGHTS.length && LIGHTS.every((each) => parts.includes(each));
const hex = (of: Thing) => `#${LIGHTS.map((each) => Number(of[each] ?? 0).toString(16).padStart(2, "0")).join("")}`;
const lights = (of: string): Thing => Object.fromEntries(LIGHTS.map((each, at) => [each, parseInt(of.slice(1 + 2 * at, 3 + 2 * at), 16)]));

export function Rows({ id, name, described, rule, value, change }: Props) {
  const shape = rule.items ?? {};
  const parts = Object.entries(shape.properties ?? {});
  const things = Array.isArray(value) ? (value as Thing[]) : [];
  const colour = isColour(parts.map(([part]) => part));
  const put = (next: Thing[]) => change(next.length ? next : undefined);
  const set = (at: number, thing: Thing) => put(things.map((each, index) => (index === at ? thing : each)));
  const one = words(name).replace(/s$/, "");
  return (
    <div class="drop" role="group" aria-labelledby={`${id}-label`} aria-describedby={described}>
      {things.map((thing, at) => (
        <div class="line" key={at} role="group" aria-label={`${titled(one)} ${at + 1}`}>
          {colour ? <input type="color" aria-label={`${titled(one)} ${at + 1}`} value={hex(thing)} onInput={(event) => set(at, lights(event.currentTarget.value))} /> : null}
          {colour ? <code>{hex(thing)}</code> : parts.map(([part, each]) => (
            <Part key={part} name={part} rule={each} required={shape.required?.includes(part) ?? false} value={thing[part]} change={(to) => set(at, to === undefined ? without(thing, part) : { ...thing, [part]: to })} />
          ))}
          <button type="button" class="quiet" aria-label={`Remove ${one} ${at + 1}`} onClick={() => put(things.filter((_, index) => index !== at))}>Remove</button>
        </div>
      ))}
      <div class="line">
        <button type="button" disabled={things.length >= (rule.maxItems ?? 99)} onClick={() => put([...things, colour ? lights("#808080") : {}])}>Add a {one}</button>
        {rule.maxItems !== undefined && <span class="dim small">{things.length} of {rule.maxItems}</span>}
      </div>
    </div>
  );
}

const without = (thing: Thing, part: string): Thing => Object.fromEntries(Object.entries(thing).filter(([each]) => each !== part));

interface PartProps {
  name: string;
  rule: Rule;
  required: boolean;
  value: unknown;
  change: (value: unknown) => void;
}

function Part({ name, rule, required, value, change }: PartProps) {
  const common = { required, value: value === undefined ? "" : String(value) };
  const numeric = rule.type === "integer" || rule.type === "number";
  return (
    <label class={numeric ? "side" : "side grow"} title={rule.description}>
      <span class="dim">{words(name)}</span>
      {numeric
        ? <input type="number" {...common} min={rule.minimum} max={rule.maximum} step={rule.type === "integer" ? 1 : "any"} onInput={(event) => change(event.currentTarget.value === "" ? undefined : event.currentTarget.valueAsNumber)} />
        : <input {...common} onInput={(event) => change(event.currentTarget.value || undefined)} />}
    </label>
  );
}
