// One field of a model's input, from its JSON Schema: a new model needs no new code here.
import { useState } from "preact/hooks";
import { titled } from "../format";
import { pick } from "../route";
import { Drop } from "./drop";
import { Rows } from "./rows";

export type Values = Record<string, unknown>;
export interface Rule {
  type?: string;
  title?: string;
  description?: string;
  enum?: string[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  oneOf?: Rule[];
  anyOf?: Rule[];
  $ref?: string;
  properties?: Record<string, Rule>;
  required?: string[];
  items?: Rule;
}
export interface Rules extends Rule {
  properties: Record<string, Rule>;
  $defs?: Record<string, Rule>;
}

interface Props {
  name: string;
  rule: Rule;
  rules: Rules;
  value: unknown;
  change: (value: unknown) => void;
  required: boolean;
  wrong: string[];
}

/** Return those values that have a place in another model's rules: what somebody has typed is not lost with the model. */
export function carried(values: Values, rules: Rules): Values {
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => {
    const rule = pick(rules.properties, name);
    return rule !== undefined && fits(rule, rules, value);
  }));
}

function fits(rule: Rule, rules: Rules, value: unknown): boolean {
  if (rule.$ref) return fits(rules.$defs?.[rule.$ref.split("/").pop() ?? ""] ?? {}, rules, value);
  const ways = rule.oneOf ?? rule.anyOf;
  if (ways) return ways.some((each) => fits(each, rules, value));
  if (rule.enum) return rule.enum.includes(value as string);
  if (rule.properties) return typeof value === "object" && !Array.isArray(value);
  if (rule.type === "array") return Array.isArray(value) && value.length <= (rule.maxItems ?? value.length);
  if (rule.type === "integer" || rule.type === "number") return typeof value === "number";
  return rule.type === undefined || typeof value === rule.type;
}

const LONG = 512; // characters from which on a text gets room
const SAFE = Number.MAX_SAFE_INTEGER;

export function Field(props: Props) {
  const { name, rule, wrong, required } = props;
  const id = `field-${name}`;
  const hint = rule.description;
  const title = <>{titled(name)}{required ? "" : <span class="dim"> optional</span>}</>;
  const described = [hint && `${id}-hint`, wrong.length > 0 && `${id}-wrong`].filter(Boolean).join(" ");
  return (
    <div class="field" data-wrong={wrong.length ? "" : undefined}>
      {rule.type === "boolean" ? null : rule.items?.properties ? (
        <span class="label" id={`${id}-label`}>{title}</span>
      ) : (
        <label class="label" for={id}>{title}</label>
      )}
      <Control {...props} id={id} described={described} />
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {wrong.length > 0 && <p class="wrong" id={`${id}-wrong`}>{wrong.join(" ")}</p>}
    </div>
  );
}

type ControlProps = Props & { id: string; described: string };

function Control(props: ControlProps) {
  const { rule, value, change, id, described, required, name } = props;
  const common = { id, "aria-describedby": described, "aria-invalid": props.wrong.length > 0 };
  if (rule.type === "array" && rule.items?.properties) return <Rows {...props} />;
  if (rule.type === "array") return <Drop id={id} described={described} value={Array.isArray(value) ? (value as string[]) : []} most={rule.maxItems ?? 99} change={change} />;
  if (rule.oneOf ?? rule.anyOf) return <Size {...props} />;
  if (rule.type === "boolean") {
    const usual = rule.default === true; // what is as usual is left out of the request
    return (
      <label class="check"><input type="checkbox" {...common} checked={typeof value === "boolean" ? value : usual}
        onChange={({ currentTarget: box }) => change(box.checked === usual ? undefined : box.checked)} /> {titled(name)}{usual && <span class="dim"> on by default</span>}</label>
    );
  }
  if (rule.enum)
    return (
      <select {...common} value={String(value ?? "")} onChange={(event) => change(event.currentTarget.value || undefined)}>
        <option value="">{rule.default === undefined ? "As the model chooses" : `${rule.default} (default)`}</option>
        {rule.enum.filter((each) => each !== rule.default).map((each) => <option key={each}>{each}</option>)}
      </select>
    );
  if (rule.type === "integer" || rule.type === "number")
    return (
      <input type="number" {...common} step={rule.type === "integer" ? 1 : "any"} min={Math.max(rule.minimum ?? -SAFE, -SAFE)} max={Math.min(rule.maximum ?? SAFE, SAFE)}
        value={value === undefined ? "" : String(value)} onInput={(event) => change(event.currentTarget.value === "" ? undefined : event.currentTarget.valueAsNumber)} />
    );
  if ((rule.maxLength ?? Infinity) > LONG)
    return <textarea {...common} dir="auto" rows={name === "prompt" ? 5 : 2} required={required} value={String(value ?? "")} onInput={(event) => change(event.currentTarget.value || undefined)} />;
  return <input {...common} dir="auto" required={required} value={String(value ?? "")} onInput={(event) => change(event.currentTarget.value || undefined)} />;
}

/** A choice between names and an object of numbers, as sizes are: `2K`, or width and height. */
function Size({ rule, rules, value, change, id, described }: ControlProps) {
  const ways = (rule.oneOf ?? rule.anyOf ?? []).map((each) => (each.$ref ? rules.$defs?.[each.$ref.split("/").pop() ?? ""] ?? {} : each));
  const named = ways.flatMap((each) => each.enum ?? []);
  const shape = ways.find((each) => each.properties);
  const [own, setOwn] = useState(typeof value === "object" && value !== null);
  const sides = (typeof value === "object" && value !== null ? value : {}) as Record<string, number | undefined>;
  return (
    <div class="size">
      <select id={id} aria-describedby={described} value={own ? "own" : String(value ?? "")}
        onChange={(event) => {
          const picked = event.currentTarget.value;
          setOwn(picked === "own");
          change(picked === "own" ? Object.fromEntries(Object.entries(shape?.properties ?? {}).map(([side, each]) => [side, each.default])) : picked || undefined);
        }}>
        <option value="">As the model chooses</option>
        {named.map((each) => <option key={each}>{each}</option>)}
        {shape && <option value="own">In pixels…</option>}
      </select>
      {own && Object.entries(shape?.properties ?? {}).map(([side, each]) => (
        <label key={side} class="side">
          <span class="dim">{side}</span>
          <input type="number" min={each.minimum} max={each.maximum} value={sides[side] ?? ""} onInput={(event) => change({ ...sides, [side]: event.currentTarget.valueAsNumber || undefined })} />
        </label>
      ))}
    </div>
  );
}
